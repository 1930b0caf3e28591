"""Every activation of a model, histogrammed in one pass over the feeds, here or on many machines."""

from __future__ import annotations

import operator
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from helpers.calibrate.activations import Activations, Seen
from helpers.calibrate.histogram import Histogram
from helpers.graph import Feed, ModelLike

_SHARD = 8  # feeds that a worker takes at once, and that are binned at once: both have a fixed cost
_AHEAD = 8  # shards that wait in an executor at most, so that feeds stream from the disk
_SAMPLE = 1 << 13

Named = tuple[int, str, Feed]  # a feed's index, what to call it in a message, and the feed
Part = tuple[dict[str, Histogram], int]  # histograms of some feeds, and how many


def observe(
    model: ModelLike,
    feeds: Iterable[Feed],
    tensors: Collection[str] | None = None,
    executor: Executor | None = None,
    sample: int | None = _SAMPLE,
    *,
    partial: bool = True,
) -> dict[str, Histogram]:
    """Histogram every activation of a model: {tensor: Histogram}, in one pass over the feeds.

    Activations are the float graph inputs and node outputs that depend on an input; `tensors` names fewer.
    min and max see every value. Of a tensor larger than `sample`, the counts see every step-th value and weigh
    it with step, the least odd number that leaves at most `sample` values per feed; `sample=None` counts all.
    With a `concurrent.futures` executor (dask.distributed's `get_executor()` is one), shards of feeds run in its
    workers: the same result, bit for bit. Ctrl-C keeps the feeds done so far, with a warning; before the first one,
    and always with `partial=False`, it raises KeyboardInterrupt.

    Raises ValueError on no feeds, a tensor that is not there, a dynamic input shape, a feed that does not fit
    the model's inputs, NaN or inf in an activation (naming the picture where `feeds` has `paths`).

    >>> import onnx
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    >>> net = onnx.parser.parse_model(text)
    >>> observe(net, [{"x": np.float32([-1, 2])}, {"x": np.float32([5, 0])}])["y"].max
    5.0
    """
    if sample is not None and sample < 1:
        raise ValueError(f"sample is a number of values per tensor and feed, from 1 on, not {sample}; None takes all.")
    named = _named(feeds)
    if executor is None:
        parts = _parts(model, named, tensors, sample)
    else:
        shards = iter(lambda: list(islice(named, _SHARD)), [])
        parts = _ahead(executor, _shard, ((model, shard, tensors, sample) for shard in shards), _AHEAD)
    seen: dict[str, Histogram] = {}
    done = 0
    try:
        with tqdm(total=operator.length_hint(feeds, 0) or None, desc="observe", unit="feed") as bar:
            for part, size in parts:
                seen, done = _merge(seen, part), done + size
                bar.update(size)
    except KeyboardInterrupt:
        if not (seen and partial):
            raise
        warnings.warn(f"observe was interrupted: these histograms hold {done} feeds only.", stacklevel=2)
    if not done:
        raise ValueError("there are no feeds: give at least one {input name: array}; a used-up generator has none.")
    return seen


def _named(feeds: Iterable[Feed]) -> Iterator[Named]:
    paths = list(getattr(feeds, "paths", ()))
    for index, feed in enumerate(feeds):
        path = paths[index] if index < len(paths) else None
        picture = f" ({Path(path).name})" if isinstance(path, (str, Path)) else ""
        yield index, f"feed {index}{picture}", feed


def _ahead(pool: Executor, work: Callable[..., Any], tasks: Iterable[tuple], depth: int) -> Iterator[Any]:
    """Like `pool.map(work, *tasks)`, but at most `depth` tasks are under way; after Ctrl-C these still arrive."""
    waiting: deque[Future] = deque()
    stop = None
    try:
        for task in tasks:
            waiting.append(pool.submit(work, *task))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
    except KeyboardInterrupt as e:
        stop = e
    try:
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
    if stop:
        raise stop


def _merge(a: dict[str, Histogram], b: dict[str, Histogram]) -> dict[str, Histogram]:
    return {name: a[name] + h for name, h in b.items()} if a else b


def _shard(model: ModelLike, named: list[Named], tensors: Collection[str] | None, sample: int | None) -> Part:
    """One worker's share: its feeds' histograms added."""
    return reduce(_merge, (part for part, _ in _parts(model, iter(named), tensors, sample))), len(named)


def _parts(
    model: ModelLike, named: Iterator[Named], tensors: Collection[str] | None, sample: int | None
) -> Iterator[Part]:
    """Histograms of a few feeds after the other, as they are done."""
    activations, size = Activations(model, tensors, sample), _SHARD if sample else 1
    done: list[tuple[int, dict[str, Seen]]] = []
    with ThreadPoolExecutor(activations.runs) as pool:
        try:
            for seen in _ahead(pool, activations, named, activations.runs + 1):
                done.append(seen)
                if len(done) == size:
                    full, done = done, []
                    yield _count(full), size
        except KeyboardInterrupt:
            if done:
                yield _count(done), len(done)
            raise
        if done:
            yield _count(done), len(done)


def _count(feeds: list[tuple[int, dict[str, Seen]]]) -> dict[str, Histogram]:
    """What (index, {tensor: Seen}) of some feeds counts."""
    part = {}
    for name in feeds[0][1]:
        histogram = Histogram()
        found = [(index, seen[name]) for index, seen in feeds]
        for step in {seen.step for _, seen in found}:  # one, unless the tensor's size depends on the data
            same = [(index, seen) for index, seen in found if seen.step == step]
            ends = {index: seen.extremes for index, seen in same if seen.extremes is not None}
            if ends:
                histogram = histogram.counting(np.concatenate([seen.values for _, seen in same]), ends, step)
        part[name] = histogram
    return part
