"""Every activation of a model, histogrammed in one pass over the feeds, here or on many machines."""

from __future__ import annotations

import difflib
import math
import mmap
import operator
import os
import queue
import warnings
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from tqdm.auto import tqdm

from helpers import targets
from helpers.calibrate.histogram import Histogram, extremes
from helpers.graph import Model

_SHARD = 8  # feeds that a worker takes at once, and that are binned at once: both have a fixed cost
_AHEAD = 8  # shards that wait in an executor at most, so that feeds stream from the disk
_RUNS = 2  # feeds in flight at most: each holds one feed's activations (YOLOv8n at 640: 240 MB, YOLOv8m: 733 MB)
_HELD = 1 << 30  # bytes of activations that these may hold together; above it, one feed at a time
_SAMPLE = 1 << 13


def observe(
    model_path,
    feeds: Iterable[dict],
    tensors=None,
    executor=None,
    sample: int | None = _SAMPLE,
    *,
    partial: bool = True,
) -> dict[str, Histogram]:
    """Histogram every activation of a model: {tensor: Histogram}, in one pass over the feeds.

    Activations are the float graph inputs and node outputs that depend on an input; `tensors` names fewer.
    min and max see every value. Of a tensor larger than `sample`, the counts see every step-th value and weigh
    it with step, the least odd number that leaves at most `sample` values per feed; `sample=None` counts all.
    Memory stays flat however many feeds there are, and their order and grouping never show.
    With a `concurrent.futures` executor (dask.distributed's `get_executor()` is one), shards of feeds run in its
    workers and their histograms are added: the same result, bit for bit.
    Ctrl-C keeps the feeds done so far, with a warning. Before the first one, and always with `partial=False`, it
    raises KeyboardInterrupt: say that where a record of all feeds is written.

    Raises ValueError on no feeds, a tensor that is not there, a dynamic input shape, a feed that does not fit
    the model's inputs, NaN or inf in an activation (naming the picture where `feeds` has `paths`).

    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    >>> path = getfixture("tmp_path") / "relu.onnx"
    >>> onnx.save(onnx.parser.parse_model(text), path)
    >>> observe(path, [{"x": np.float32([-1, 2])}, {"x": np.float32([5, 0])}])["y"].max
    5.0
    """
    if sample is not None and sample < 1:
        raise ValueError(f"sample is a number of values per tensor and feed, from 1 on, not {sample}; None takes all.")
    count = operator.length_hint(feeds, 0) or None
    named = _named(feeds)
    if executor is None:
        parts = _parts(model_path, named, tensors, sample)
    else:
        shards = iter(lambda: list(islice(named, _SHARD)), [])
        parts = _ahead(executor, _shard, ((model_path, shard, tensors, sample) for shard in shards), _AHEAD)
    seen, done = {}, 0
    try:
        with tqdm(total=count, desc="observe", unit="feed") as bar:
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


def _named(feeds):
    """Yield (index, what to call it in a message, feed)."""
    paths = getattr(feeds, "paths", None) or []
    for index, feed in enumerate(feeds):
        path = paths[index] if index < len(paths) else None
        picture = f" ({Path(path).name})" if isinstance(path, (str, Path)) else ""
        yield index, f"feed {index}{picture}", feed


def _ahead(pool, work, tasks, depth: int):
    """Like `pool.map(work, *tasks)`, but at most `depth` tasks are under way; after Ctrl-C these still arrive."""
    waiting, stop = deque(), None
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


def _merge(a: dict, b: dict) -> dict:
    return {name: a[name] + h for name, h in b.items()} if a else b


def _shard(model_path, named, tensors, sample) -> tuple[dict[str, Histogram], int]:
    """One worker's share: its feeds' histograms added, and how many feeds that were."""
    return reduce(_merge, (part for part, _ in _parts(model_path, iter(named), tensors, sample))), len(named)


def _parts(model_path, named, tensors, sample):
    """Yield ({tensor: Histogram}, feeds in it) as they are done."""
    watch, size, done = _Watch(model_path, tensors, sample), _SHARD if sample else 1, []
    with ThreadPoolExecutor(watch.runs) as pool:
        try:
            for look in _ahead(pool, watch, named, watch.runs + 1):
                done.append(look)
                if len(done) == size:
                    full, done = done, []
                    yield _count(full), size
        except KeyboardInterrupt:
            if done:
                yield _count(done), len(done)
            raise
        if done:
            yield _count(done), len(done)


def _count(looks) -> dict[str, Histogram]:
    part = {}
    for name in looks[0][1]:
        part[name], found = Histogram(), [(index, *look[name]) for index, look in looks if look[name][0]]
        for step in {step for *_, step in found}:  # one, unless the tensor's size depends on the data
            same = [f for f in found if f[3] == step]
            values = np.concatenate([f[2] for f in same])
            part[name] = part[name].counting(values, {f[0]: f[1] for f in same}, step)
    return part


def _made_of_inputs(model: Model) -> list[str]:
    """Tensors that depend on an input, in graph order; what is made of stored ones alone is a constant."""
    constant, produced = {t.name for t in model.proto.graph.initializer}, []
    for node in model.nodes:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)
        else:
            produced += [name for name in node.output if name]
    return produced


class _Watch:
    """A session that shows every activation of a feed: call it with (index, name for messages, feed).

    Activations go into arrays that are kept from feed to feed: fresh memory costs as much as a Conv. Two whole
    feeds side by side, a thread each, keep the cores busier than one feed cut into threads.
    """

    def __init__(self, model_path, tensors, sample):
        self.path, self.sample = model_path, sample
        model = Model.of(model_path)
        produced = _made_of_inputs(model)
        kinds = {name: value.type.tensor_type for name, value in model.inputs.items()}
        self.inputs = {
            name: ([d.dim_value for d in kind.shape.dim], onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
            for name, kind in kinds.items()
        }
        model = model.with_outputs([name for name in produced if tensors is None or name in tensors] or produced[:1])
        self.runs = _RUNS
        self._open(model)
        if self.runs > 1 and self.runs * self._bytes() > _HELD:
            self.runs, self.session = 1, None
            self._open(model)  # once more, so that the one feed has all cores
        names = [name for name, (_, dtype) in self.inputs.items() if dtype in (np.float32, np.float16)] + [*self.made]
        for name in [] if tensors is None else tensors:
            if name not in names:
                names = [*names, *produced]
                near = difflib.get_close_matches(name, names, 3, 0) or names[:3]
                raise ValueError(f"{model_path}: has no float activation '{name}'; the nearest names are {near}.")
        self.made = {name: self.made[name] for name in self.made if tensors is None or name in tensors}
        self.names = [name for name in names if tensors is None or name in tensors]
        self.idle = queue.LifoQueue()
        for _ in range(self.runs):
            self.idle.put(None)

    def _open(self, model):
        """Open a session for `runs` feeds at once; `made` are its float outputs, {name: (shape, dtype)}."""
        # Not optimised: with every tensor an output that gains nothing and holds each one twice (YOLOv8n: 1.4 GB).
        self.session = targets.load(model, threads=max(1, (os.cpu_count() or 1) // self.runs))
        floats = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}
        self.made = {o.name: (o.shape, floats[o.type]) for o in self.session.get_outputs() if o.type in floats}

    def _bytes(self) -> int:
        """What one feed's activations take, as far as their shapes are static."""
        static = [(s, t) for s, t in self.made.values() if all(isinstance(d, int) for d in s)]
        return sum(math.prod(s) * t.itemsize for s, t in static)

    def _bind(self):
        """An io_binding and the arrays behind it; what has no static shape gets fresh memory at each run."""
        binding, kept = self.session.io_binding(), {}
        static = {n: (s, t) for n, (s, t) in self.made.items() if all(isinstance(d, int) for d in s)}
        ends = np.cumsum([0, *(-(-math.prod(s) * t.itemsize // 64) * 64 for s, t in static.values())])
        memory = np.frombuffer(mmap.mmap(-1, ends[-1] + 1), np.uint8)  # malloc would not give it back to the system
        for start, (name, (shape, dtype)) in zip(ends, static.items(), strict=False):
            kept[name] = memory[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(kept[name]))
        return binding, kept

    def __call__(self, index: int, where: str, feed: dict):
        """(index, {tensor: ((min, max) or None if empty, counted values as float32, step)})."""
        self._check(where, feed)
        slot = self.idle.get()
        try:
            binding, kept = slot = slot or self._bind()
            for name in self.inputs:
                binding.bind_cpu_input(name, np.ascontiguousarray(feed[name]))
            for name in self.made:
                if name not in kept:
                    binding.bind_output(name)
            if self.made:
                self.session.run_with_iobinding(binding)
            fresh = (name for name in self.made if name not in kept)
            found = dict(zip(fresh, binding.get_outputs()[len(kept) :], strict=True))
            seen = {}
            for name in self.names:
                x = feed[name] if name in self.inputs else kept[name] if name in kept else found[name].numpy()
                seen[name] = self._look(np.asarray(x).reshape(-1), name, where)
            return index, seen
        finally:
            self.idle.put(slot)

    def _look(self, x, name, where):
        step = 1 if self.sample is None or x.size <= self.sample else -(-x.size // self.sample) | 1
        values = x[step // 2 :: step].astype(np.float32)  # an odd step meets every column of a map
        return extremes(x, name, where) if x.size else None, values, step

    def _check(self, where: str, feed) -> None:
        """Raise ValueError unless the feed gives each input in its shape and dtype."""
        if not isinstance(feed, dict) or set(feed) != set(self.inputs):
            got = sorted(feed) if isinstance(feed, dict) else type(feed).__name__
            raise ValueError(f"{where}: {self.path} expects {{name: array}} for {sorted(self.inputs)}, got {got}.")
        for name, (shape, dtype) in self.inputs.items():
            x = np.asarray(feed[name])
            if list(x.shape) != shape or x.dtype != dtype:
                raise ValueError(
                    f"{where}: input '{name}' expects {dtype} of shape {shape}, got {x.dtype} of {list(x.shape)}."
                )
