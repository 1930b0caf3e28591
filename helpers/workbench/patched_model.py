"""A QDQ graph whose ranges change under an open session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array

from helpers import qdq, targets
from helpers.graph import Model, read_model, shared_scale

Range = tuple[float, float]


class PatchedModel:
    """A QDQ graph that takes other ranges in place, bit for bit as if it were quantized anew with them.

    `fp32` is the path of a float graph, `ranges` {tensor: (rmin, rmax)} of all its activations; `shared_scale` maps the
    first activation of each group that shares a scale to the whole group, and `ranges` then holds those first ones.
    `runner(path, target)` is the task's. Raises ValueError as `qdq.quantize_model` does.

    The scales, zero points and biases are inputs with a default of the one session on the CPU, so it outlives each
    change. Measured on 2 cores, median from the change to the boxes (in brackets: with a new session instead):
    data/'s model 0.04 s (0.11), YOLOv8n at 640 0.17 s (0.30).

    >>> from helpers import assets, calibrate, tasks
    >>> feeds, folder = tasks.Feeds(assets.images()[:1], assets.model()), getfixture("tmp_path")
    >>> ranges = calibrate.ranges(calibrate.observe(assets.model(), feeds), "minmax")
    >>> patched = PatchedModel(assets.model(), ranges, folder, tasks.Detector)
    >>> patched.change({"images": (0, 2)})
    >>> qdq.list_qparams(patched.proto)["images"].zero_point, round(qdq.list_qparams(patched.proto)["images"].scale, 6)
    (0, 0.007843)
    """

    def __init__(self, fp32: str | Path, ranges: Mapping[str, Range], folder: str | Path, runner: Callable[..., Any]):
        self.fp32, self.folder, self._runner = Path(fp32), Path(folder), runner
        self._floats = Model.of(fp32).constants
        self._first = dict(ranges)  # of all, for a Conv before a Relu has a range and then no codes of its own
        self.a16: frozenset[str] = frozenset()
        self.weight, self.per_channel = "int8", True
        self._runners: dict[str, Any] = {}
        self.proto = self._quantized(ranges, (), self.weight, self.per_channel)
        self.shared_scale = {group[0]: group for group in shared_scale(self.proto)}
        self.ranges = {representative: float32_range(*ranges[representative]) for representative in self.shared_scale}

    def change(
        self,
        ranges: Mapping[str, Range],
        a16: Iterable[str] | None = None,
        weight: str | None = None,
        per_channel: bool | None = None,
    ) -> None:
        """Take over some `ranges`, and, which quantizes anew, other 16-bit tensors, weights' dtype and kind of scales.

        All or nothing: raises ValueError as `qdq.set_range` does, and the graph is as it was.
        """
        a16 = self.a16 if a16 is None else frozenset(a16)
        weights = weight or self.weight, self.per_channel if per_channel is None else per_channel
        ranges = self.ranges | {t: float32_range(*r) for t, r in ranges.items()}
        patched = (a16, *weights) == (self.a16, self.weight, self.per_channel)
        if patched:
            proto = onnx.ModelProto()
            proto.CopyFrom(self.proto)
            changed = {t for t in ranges if ranges[t] != self.ranges[t]}
        else:
            proto = self._quantized(self.every(ranges), self.members(a16), *weights)
            changed = set(a16)  # QNN's configuration gives a 16-bit Sigmoid a range of its own
        for representative in changed:
            low, high = ranges[representative]
            qdq.set_range(proto, self.shared_scale[representative], low, high, biases=self._floats)
        alive = {t: r for t, r in self._runners.items() if patched and targets.get(t).runs_floats}
        self.proto, self.ranges, self.a16, self._runners = proto, ranges, a16, alive
        self.weight, self.per_channel = weights
        for runner in alive.values():
            runner.session.fed = {t.name: to_array(t) for t in _set_by_ranges(proto)}

    def members(self, representatives: Iterable[str]) -> dict[str, str]:
        """{activation: its representative} of all that share a scale with one of `representatives`, these included."""
        return {t: representative for representative in representatives for t in self.shared_scale[representative]}

    def every(self, ranges: Mapping[str, Range]) -> dict[str, Range]:
        """The range of every activation, from `ranges` by representative; where there are no codes, the first one."""
        return self._first | {t: ranges[representative] for t, representative in self.members(ranges).items()}

    def runner(self, target: str = "cpu") -> Any:
        """The task's runner of the graph as it is now; raises as `targets.load` does."""
        if target not in self._runners:
            model, patches = Model(self.proto).copy(), targets.get(target).runs_floats
            if patches:
                stored = [(t.name, t.data_type, t.dims) for t in _set_by_ranges(model.proto)]
                model.proto.graph.input.extend(onnx.helper.make_tensor_value_info(*value) for value in stored)
            path = self.folder / f"{target}.onnx"
            onnx.save(model.proto, path)
            self._runners[target] = runner = self._runner(path, target)
            if patches:
                runner.session = _Fed(runner.session)
        return self._runners[target]

    def npu_target(self) -> str:
        """The quickest target of this machine that computes the NPU's codes and takes the graph as it is set.

        Raises RuntimeError where 16-bit tensors find none, and what the last target said where each refuses the graph.
        """
        dtypes = {"uint16"} if self.a16 else {"uint8"}
        refused: list[Exception] = []

        def takes_it(target: targets.Target) -> bool:
            if not target.npu_codes or not dtypes <= target.dtypes:
                return False
            try:
                self.runner(target.name)
            except (RuntimeError, ValueError) as error:
                refused.append(error)
                return False
            return True

        chosen = targets.quickest(takes_it)
        if chosen is None:
            text = "16-bit tensors need the HTP or its emulator, which is not here; 8 bits go on any machine."
            raise refused[-1] if refused else RuntimeError(text)
        return chosen.name

    def _quantized(
        self, ranges: Mapping[str, Range], a16: Collection[str], weight: str, per_channel: bool
    ) -> onnx.ModelProto:
        path = self.folder / "quantized.onnx"
        made = qdq.quantize_model(self.fp32, path, ranges, weight=weight, per_channel=per_channel, a16=a16)
        proto = read_model(made)
        for t in proto.graph.initializer:  # stored as `set_range` stores them, so that an undo gives the same bytes
            t.CopyFrom(from_array(to_array(t), t.name))
        return proto


class _Fed:
    """A session with some of its defaults replaced."""

    def __init__(self, session: Any):
        self.session = session
        self.fed: dict[str, np.ndarray] = {}

    def run(self, names: Sequence[str] | None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self.session.run(names, self.fed | feed)


def _set_by_ranges(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """What a range decides: scales and zero points of activations, and the biases at S_x·S_w."""
    stored = {t.name: t for t in proto.graph.initializer}
    names: dict[str, None] = {}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            names |= dict.fromkeys(node.input[1:])
        elif (code := stored.get(node.input[0])) is not None and code.data_type == onnx.TensorProto.INT32:
            names |= dict.fromkeys(node.input[:2] if node.op_type == "DequantizeLinear" else ())
    return [stored[name] for name in names]


def float32_range(rmin: float, rmax: float) -> Range:
    """The range as ONNX Runtime's quantizer sees it."""
    return float(np.float32(rmin)), float(np.float32(rmax))
