"""A session that shows every activation of a feed, and what is kept of each: its extremes and a sample."""

from __future__ import annotations

import difflib
import math
import mmap
import os
import queue
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from helpers import targets
from helpers.calibrate.histogram import extremes
from helpers.graph import Feed, Model, ModelLike, reads

RUNS = 2  # feeds in flight at most: each holds one feed's activations (YOLOv8n at 640: 240 MB, YOLOv8m: 733 MB)
HELD = 1 << 30  # bytes of activations that these may hold together; above it, one feed at a time
_LINE = 64  # bytes of a cache line, where each array begins


class Seen(NamedTuple):
    """What one feed showed of a tensor: (min, max), None if it was empty, and every `step`-th value, float32."""

    extremes: tuple[float, float] | None
    values: np.ndarray
    step: int


class Activations:
    """A session that shows every activation of a feed: call it with (index, name for messages, feed).

    They go into arrays that are kept from feed to feed: fresh memory costs as much as a Conv. `runs` whole feeds side
    by side keep the cores busier than one cut into threads. Raises ValueError for a tensor that is not there.

    >>> import onnx
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    >>> index, seen = Activations(onnx.parser.parse_model(text), None, None)(0, "feed 0", {"x": np.float32([-1, 2])})
    >>> seen["y"].extremes
    (0.0, 2.0)
    """

    def __init__(self, model: ModelLike, tensors: Collection[str] | None, sample: int | None):
        graph = Model.of(model)
        self.path, self.sample = str(graph), sample
        produced = _made_of_inputs(graph)
        self.inputs = graph.input_types
        shown = [name for name in produced if tensors is None or name in tensors]
        self.runs = RUNS
        self._open(graph.with_outputs(shown or produced[:1]))
        floats = [name for name, (dtype, _) in self.inputs.items() if dtype in (np.float32, np.float16)]
        self.names = [*floats, *self.made]
        if tensors is not None:
            self._keep(tensors, produced)
        self._idle: queue.LifoQueue = queue.LifoQueue()  # bindings that no feed uses; None for one not made yet
        for _ in range(self.runs):
            self._idle.put(None)

    def _open(self, graph: Model) -> None:
        """Open a session for `runs` feeds at once; `made` are its float outputs, {name: (shape, dtype)}."""
        # Not optimised: with every tensor an output that gains nothing and holds each one twice (YOLOv8n: 1.4 GB).
        self.session = targets.load(graph, threads=max(1, (os.cpu_count() or 1) // self.runs))
        types: dict[str, tuple[list, Any]] = {
            o.name: (o.shape, targets.ARRAY_TYPES.get(o.type)) for o in self.session.get_outputs()
        }
        self.made = {name: kind for name, kind in types.items() if kind[1] in (np.float32, np.float16)}
        if self.runs > 1 and self.runs * sum(self._sizes().values()) > HELD:
            self.runs, self.session = 1, None
            self._open(graph)  # once more, so that the one feed has all cores

    def _sizes(self) -> dict[str, int]:
        """Bytes of each of `made` whose shape does not depend on the data; [] is a scalar or an unknown rank."""
        static = {name: kind for name, kind in self.made.items() if kind[0] and all(type(d) is int for d in kind[0])}
        return {name: math.prod(shape) * dtype.itemsize for name, (shape, dtype) in static.items()}

    def _keep(self, tensors: Collection[str], produced: list[str]) -> None:
        """Keep these names alone; raises ValueError for one that is no float activation."""
        for name in tensors:
            if name not in self.names:
                known = [*self.names, *produced]
                near = difflib.get_close_matches(name, known, 3, 0) or known[:3]
                raise ValueError(f"{self.path}: has no float activation '{name}'; the nearest names are {near}.")
        self.names = [name for name in self.names if name in tensors]
        self.made = {name: kind for name, kind in self.made.items() if name in tensors}

    def _bind(self) -> tuple[ort.IOBinding, dict[str, np.ndarray]]:
        """An io_binding and the arrays behind it; what has no static shape gets fresh memory at each run."""
        binding, kept, start = self.session.io_binding(), {}, 0
        sizes = self._sizes()
        room = sum(size + _LINE for size in sizes.values()) + 1
        memory = np.frombuffer(mmap.mmap(-1, room), np.uint8)  # malloc would not give it back to the system
        for name, size in sizes.items():
            shape, dtype = self.made[name]
            kept[name] = memory[start : start + size].view(dtype).reshape(shape)
            start += math.ceil(size / _LINE) * _LINE
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(kept[name]))
        return binding, kept

    def __call__(self, index: int, where: str, feed: Feed) -> tuple[int, dict[str, Seen]]:
        """(index, {tensor: what is kept of it}); raises ValueError for a feed that does not fit, for NaN or inf."""
        self._check(where, feed)
        slot = self._idle.get()
        try:
            slot = slot or self._bind()
            shown = self._run(feed, *slot)
            return index, {name: self._look(np.asarray(shown[name]).reshape(-1), name, where) for name in self.names}
        finally:
            self._idle.put(slot)

    def _run(self, feed: Feed, binding: ort.IOBinding, kept: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every activation of a feed, and its inputs."""
        for name in self.inputs:
            binding.bind_cpu_input(name, np.ascontiguousarray(feed[name]))
        fresh = [name for name in self.made if name not in kept]
        for name in fresh:
            binding.bind_output(name)
        if self.made:
            self.session.run_with_iobinding(binding)
        found = zip(fresh, binding.get_outputs()[len(kept) :], strict=True)
        return {**feed, **kept, **{name: value.numpy() for name, value in found}}

    def _look(self, x: np.ndarray, name: str, where: str) -> Seen:
        step = 1
        if self.sample is not None and x.size > self.sample:
            step = math.ceil(x.size / self.sample) | 1  # an odd step meets every column of a map
        values = x[step // 2 :: step].astype(np.float32)
        return Seen(extremes(x, name, where) if x.size else None, values, step)

    def _check(self, where: str, feed: Feed) -> None:
        """Raise ValueError unless the feed gives each input in its shape and dtype."""
        if not isinstance(feed, Mapping) or set(feed) != set(self.inputs):
            got = sorted(feed) if isinstance(feed, Mapping) else type(feed).__name__
            raise ValueError(f"{where}: {self.path} expects {{name: array}} for {sorted(self.inputs)}, got {got}.")
        for name, (dtype, shape) in self.inputs.items():
            x = np.asarray(feed[name])
            if x.shape != shape or x.dtype != dtype:
                text = f"expects {dtype} of shape {list(shape)}, got {x.dtype} of {list(x.shape)}"
                raise ValueError(f"{where}: input '{name}' {text}.")


def _made_of_inputs(graph: Model) -> list[str]:
    """Tensors that depend on an input, in graph order; what is made of stored ones alone is a constant."""
    constant, produced = {t.name for t in graph.proto.graph.initializer}, []
    for node in graph.nodes:
        if all(name in constant for name in reads(node) if name):
            constant.update(node.output)
        else:
            produced += [name for name in node.output if name]
    return produced
