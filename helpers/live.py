"""A QDQ graph whose ranges change under an open session."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array

from . import graph, qdq, vision
from .contract import sources


def tied(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Activations of a QDQ graph in its order, those that store one scale together (a MaxPool's input and output).

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> tied(net)
    [('x',)]
    """
    source, groups = sources(model), defaultdict(dict)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            groups[node.input[1]][source[node.output[0]]] = None
    return [tuple(group) for group in groups.values()]


class Live:
    """An A8W8 graph that takes other ranges in place, bit for bit as if it were quantized anew with them.

    `fp32` is the path of a float graph, `ranges` {tensor: (rmin, rmax)} of all its activations; `tied` maps the
    first activation of each group that shares a scale to the whole group, and `ranges` then holds those first ones.
    Raises ValueError as `qdq.quantize_model` does.

    The scales, zero points and biases are inputs with a default of the one session on the CPU, so it outlives each
    change. Measured on 2 cores, median from the change to the boxes (in brackets: with a new session instead):
    data/'s model 0.04 s (0.11), YOLOv8n at 640 0.17 s (0.30).

    >>> from helpers import assets, calibrate
    >>> feeds, folder = vision.Feeds(assets.images()[:1], assets.model()), getfixture("tmp_path")
    >>> ranges = {t: calibrate.minmax(h) for t, h in calibrate.observe(assets.model(), feeds).items()}
    >>> live = Live(assets.model(), ranges, folder)
    >>> live.change({"images": (0, 2)})
    >>> qdq.list_qparams(live.proto)["images"].zero_point, round(qdq.list_qparams(live.proto)["images"].scale, 6)
    (0, 0.007843)
    """

    def __init__(self, fp32, ranges: dict, folder):
        self.fp32, self.folder = Path(fp32), Path(folder)
        self._floats = graph.constants(graph.read_model(fp32))
        self.a16, self.per_channel, self._detectors = frozenset(), True, {}
        self.proto = self._quantized(ranges, (), True)
        self.tied = {group[0]: group for group in tied(self.proto)}
        self.ranges = {leader: _float32(*ranges[leader]) for leader in self.tied}

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
            every = {t: ranges[leader] for leader, group in self.tied.items() for t in group}
            proto = self._quantized(every, [t for leader in a16 for t in self.tied[leader]], per_channel)
            changed = a16  # QNN's configuration gives a 16-bit Sigmoid a range of its own
        for leader in changed:
            qdq.set_range(proto, self.tied[leader], *ranges[leader], biases=self._floats)
        alive = self._detectors.get("cpu") if patched else None
        self.proto, self.ranges, self.a16, self.per_channel = proto, ranges, a16, per_channel
        self._detectors = {"cpu": alive} if alive else {}
        if alive:
            alive.session.fed = {t.name: to_array(t) for t in _set_by_ranges(proto)}

    def detector(self, target: str = "cpu") -> vision.Detector:
        """A detector on the graph as it is now; raises as `session.load` does."""
        if target not in self._detectors:
            proto = onnx.ModelProto()
            proto.CopyFrom(self.proto)
            if target == "cpu":
                values = [
                    onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in _set_by_ranges(proto)
                ]
                proto.graph.input.extend(values)
            path = self.folder / f"{target}.onnx"
            onnx.save(proto, path)
            self._detectors[target] = detector = vision.Detector(path, target)
            if target == "cpu":
                detector.session = _Fed(detector.session)
        return self._detectors[target]

    def _quantized(self, ranges, a16, per_channel) -> onnx.ModelProto:
        path = self.folder / "quantized.onnx"
        proto = graph.read_model(qdq.quantize_model(self.fp32, path, ranges, per_channel=per_channel, a16=a16))
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
