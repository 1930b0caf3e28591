"""A QDQ graph run on integer codes alone, to the codes that Hexagon's HTP computes."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import numpy as np
from threadpoolctl import ThreadpoolController

from helpers.graph import Feed, Model, ModelLike, float_name, fused_groups
from helpers.integer import htp_rounding
from helpers.integer.builder import Builder, stored_codes
from helpers.integer.check import check


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def one_thread() -> AbstractContextManager:
    """BLAS on one thread, for a `with`: on a busy machine its threads wait ten times longer than they work.

    >>> with one_thread():
    ...     int(np.ones(2) @ np.ones(2))
    2
    """
    return _blas().limit(limits=1)


class Simulator:
    """A QDQ graph with its weights, multipliers and tables prepared once; `run` then computes on codes.

    `model` is A8W8 or A8W4, and static. `steps` are its kernels in order, `stored` the codes of its weights and
    biases, `qparams` the scales of all tensors, `outputs` {graph output: its tensor of the float graph}. Raises
    FileNotFoundError, and ValueError for what it does not know, by name.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
    ...     c = Sigmoid(b)  d = QuantizeLinear(c, s, z)  y = DequantizeLinear(d, s, z) }''')
    >>> Simulator(net).run({"x": np.float32([0, 5])})
    {'y': array([1, 2], dtype=uint8)}
    """

    def __init__(self, model: ModelLike):
        graph = Model.of(model)
        check(graph)
        self.proto, self.inputs = graph.proto, list(graph.inputs.values())
        self.qparams, self.stored = stored_codes(graph)
        self.outputs = {name: float_name(graph.float_names.get(name, name)) for name in graph.outputs}
        builder = Builder(graph, self.qparams, self.stored)
        for group in fused_groups(graph):
            builder.add(group)
        self.steps, self._entries = builder.steps, builder.entries

    def codes(self, feed: Feed) -> dict[str, np.ndarray]:
        """Codes of the graph inputs as the HTP makes them; integers are codes already.

        Raises ValueError for real numbers that go straight into a Concat of another scale, for NaN and infinity.
        """
        values = {}
        for name in (i.name for i in self.inputs):
            x, qp = np.asarray(feed[name]), self.qparams.get(name)
            if qp is None:  # indices or truth values
                values[name] = x
                continue
            is_code = x.dtype.kind in "iu"
            values[name] = x.astype(np.uint8) if is_code else htp_rounding.quantize_input(x, qp, name=name)
            for entry in (entry for entry, tensor in self._entries.items() if tensor == name):
                if not is_code:
                    raise ValueError(
                        f"input '{name}' goes into a Concat of another scale, whose rounding of real numbers is not "
                        "known here; give both one scale, give codes, or use target 'cpu' or 'htp'."
                    )
                values[entry] = htp_rounding.rescale_lut(qp, self.qparams[entry], first=True)[values[name]]
        return values

    def run(self, feed: Feed, every: bool = False) -> dict[str, np.ndarray]:
        """Codes of the graph's outputs, or of `every` activation by its name in the float graph.

        `feed` is {input name: array}: real numbers are quantized, integers are codes already. Raises ValueError for a
        feed that does not fit the graph's inputs, and as `codes` does.
        """
        self._check(feed)
        values = self.stored | self.codes(feed)
        last = {t: k for k, step in enumerate(self.steps) for t in step.inputs}
        with one_thread():
            for k, step in enumerate(self.steps):
                values |= step.run(values)
                if not every:  # what nothing reads any more makes room
                    for t in {t for t in step.inputs if last[t] == k} - set(self.outputs.values()):
                        del values[t]
        if every:
            return {t: v for t, v in values.items() if t not in self.stored}
        return {name: values[t] for name, t in self.outputs.items()}

    def _check(self, feed: Feed) -> None:
        if unknown := {i.name for i in self.inputs} ^ set(feed):
            raise ValueError(f"input '{min(unknown)}' is not both in the graph and in the feed; give all, and no more.")
        for i in self.inputs:
            x, shape = np.asarray(feed[i.name]), tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
            if x.shape != shape:
                raise ValueError(f"input '{i.name}' has shape {x.shape}; the graph takes {shape}.")
            if i.name in self.qparams and x.dtype.kind in "iu" and (x.min() < 0 or x.max() > 255):
                raise ValueError(f"input '{i.name}' holds codes outside of 0 … 255; give uint8 codes or real numbers.")


def run(qdq_model: ModelLike, feed: Feed, every: bool = False) -> dict[str, np.ndarray]:
    """Codes of a QDQ graph's outputs for one feed {input name: array}; `Simulator` prepares once for many.

    Raises as `Simulator` and its `run` do. Source: measured on onnxruntime-qnn 2.7.0's HTP, v73; chapter 06 derives it.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> run(net, {"x": np.float32([0.4, 5])})
    {'y': array([ 1, 10], dtype=uint8)}
    """
    return Simulator(qdq_model).run(feed, every)
