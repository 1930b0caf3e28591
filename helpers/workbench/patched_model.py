"""A QDQ graph whose ranges change under an open session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array

from helpers import qdq, targets
from helpers.graph import Model, read_model, shared_scale


class PatchedModel:
    """An A8W8 graph that takes other ranges in place, bit for bit as if it were quantized anew with them.

    `fp32` is the path of a float graph, `ranges` {tensor: (rmin, rmax)} of all its activations; `shared_scale` maps the
    first activation of each group that shares a scale to the whole group, and `ranges` then holds those first ones.
    `runner(path, target)` is the task's. Raises ValueError as `qdq.quantize_model` does.

    The scales, zero points and biases are inputs with a default of the one session on the CPU, so it outlives each
    change. Measured on 2 cores, median from the change to the boxes (in brackets: with a new session instead):
    data/'s model 0.04 s (0.11), YOLOv8n at 640 0.17 s (0.30).

    >>> from helpers import assets, calibrate, tasks
    >>> feeds, folder = tasks.Feeds(assets.images()[:1], assets.model()), getfixture("tmp_path")
    >>> ranges = calibrate.ranges(calibrate.observe(assets.model(), feeds), "minmax")
    >>> live = PatchedModel(assets.model(), ranges, folder, tasks.Detector)
    >>> live.change({"images": (0, 2)})
    >>> qdq.list_qparams(live.proto)["images"].zero_point, round(qdq.list_qparams(live.proto)["images"].scale, 6)
    (0, 0.007843)
    """

    def __init__(self, fp32, ranges: dict, folder, runner):
        self.fp32, self.folder, self._runner = Path(fp32), Path(folder), runner
        self._floats = Model.of(fp32).constants
        self.a16, self.per_channel, self._runners = frozenset(), True, {}
        self.proto = self._quantized(ranges, (), True)
        self.shared_scale = {group[0]: group for group in shared_scale(self.proto)}
        self.ranges = {leader: _float32(*ranges[leader]) for leader in self.shared_scale}

    def change(self, ranges: dict, a16=None, per_channel: bool | None = None) -> None:
        """Take over some `ranges`, and, which quantizes anew, other 16-bit tensors and kinds of weights' scales.

        All or nothing: raises ValueError as `qdq.set_range` does, and the graph is as it was.
        """
        a16 = self.a16 if a16 is None else frozenset(a16)
        per_channel = self.per_channel if per_channel is None else per_channel
        ranges = self.ranges | {t: _float32(*r) for t, r in ranges.items()}
        patched = (a16, per_channel) == (self.a16, self.per_channel)
        if patched:
            proto, changed = onnx.ModelProto(), [t for t in ranges if ranges[t] != self.ranges[t]]
            proto.CopyFrom(self.proto)
        else:
            every = {t: ranges[leader] for leader, group in self.shared_scale.items() for t in group}
            proto = self._quantized(every, [t for leader in a16 for t in self.shared_scale[leader]], per_channel)
            changed = a16  # QNN's configuration gives a 16-bit Sigmoid a range of its own
        for leader in changed:
            qdq.set_range(proto, self.shared_scale[leader], *ranges[leader], biases=self._floats)
        alive = {t: r for t, r in self._runners.items() if patched and targets.get(t).runs_floats}
        self.proto, self.ranges, self.a16, self.per_channel, self._runners = proto, ranges, a16, per_channel, alive
        for runner in alive.values():
            runner.session.fed = {t.name: to_array(t) for t in _set_by_ranges(proto)}

    def runner(self, target: str = "cpu"):
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

    def _quantized(self, ranges, a16, per_channel) -> onnx.ModelProto:
        path = self.folder / "quantized.onnx"
        proto = read_model(qdq.quantize_model(self.fp32, path, ranges, per_channel=per_channel, a16=a16))
        for t in proto.graph.initializer:  # stored as `set_range` stores them, so that an undo gives the same bytes
            t.CopyFrom(from_array(to_array(t), t.name))
        return proto


class _Fed:
    """A session with some of its defaults replaced."""

    def __init__(self, session):
        self.session, self.fed = session, {}

    def run(self, names, feed):
        return self.session.run(names, self.fed | feed)


def _set_by_ranges(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """What a range decides: scales and zero points of activations, and the biases at S_x·S_w."""
    stored, names = {t.name: t for t in proto.graph.initializer}, {}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            names |= dict.fromkeys(node.input[1:])
        elif (code := stored.get(node.input[0])) is not None and code.data_type == onnx.TensorProto.INT32:
            names |= dict.fromkeys(node.input[:2] if node.op_type == "DequantizeLinear" else ())
    return [stored[name] for name in names]


def _float32(rmin: float, rmax: float) -> tuple[float, float]:
    """The range as ONNX Runtime's quantizer sees it."""
    return float(np.float32(rmin)), float(np.float32(rmax))
