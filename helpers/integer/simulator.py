"""A QDQ graph run on integer codes alone, to the codes that Hexagon's HTP computes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx
from threadpoolctl import ThreadpoolController

from helpers.affine import QParams
from helpers.graph import QDQ, Feed, Group, Model, ModelLike, float_name, fused_groups
from helpers.integer import htp_rounding
from helpers.integer.check import check
from helpers.integer.kernels import FUSES_INTO_CONCAT, KERNELS, MOVES, PASSES, Compute, Operator, refuse


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


class Step(NamedTuple):
    """One kernel, and the tensors of the float graph that it reads and makes."""

    kernel: Compute
    inputs: list[str]
    outputs: list[str]

    def run(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Codes of its outputs, from `values` of its inputs."""
        made = self.kernel(*(values[t] for t in self.inputs))
        return dict(zip(self.outputs, made if isinstance(made, list) else [made], strict=True))


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
        self.qparams, self.stored = _stored(graph)
        self.outputs = {name: float_name(graph.float_names.get(name, name)) for name in graph.outputs}
        builder = _Builder(graph, self.qparams, self.stored)
        for group in fused_groups(graph):
            builder.add(group)
        self.steps, self._entries = builder.steps, builder.entries

    def codes(self, feed: Feed) -> dict[str, np.ndarray]:
        """Codes of the graph inputs as the HTP makes them; integers are codes already.

        Raises ValueError for real numbers that go straight into a Concat of another scale, for NaN and infinity.
        """
        values = {}
        for name in (i.name for i in self.inputs):
            x, qp = np.asarray(feed[name]), self.qparams[name]
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
            if x.dtype.kind in "iu" and (x.min() < 0 or x.max() > 255):
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


def _stored(graph: Model) -> tuple[dict[str, QParams], dict[str, np.ndarray]]:
    """({tensor: QParams}, {weight or bias: its codes}); graph inputs that are codes have their QParams at their DQ."""
    qparams, stored = dict(graph.qparams), {}
    for node in graph.nodes:
        if node.op_type not in QDQ:
            continue
        tensor = graph.float_names[node.output[0]]
        if node.input[0] in graph.constants:
            stored[tensor] = graph.constants[node.input[0]]
        elif node.op_type == "DequantizeLinear" and tensor not in qparams:
            qparams[tensor] = graph.qparams_of(node)
    return qparams, stored


class _Builder:
    """Prepares one kernel after the other. A Concat reads what its producers make at its own scale: a second step."""

    def __init__(self, graph: Model, qparams: dict[str, QParams], stored: dict[str, np.ndarray]):
        self.graph, self.qparams, self.stored = graph, qparams, stored
        self.nodes = {float_name(node.output[0]): node for node in graph.nodes if node.op_type not in QDQ}
        self.steps: list[Step] = []
        self.entries: dict[str, str] = {}  # {a graph input at the scale of a Concat: that input}
        self.made: dict[str, tuple[Operator, list[str]]] = {}  # {tensor: what makes it, from which tensors}
        self.edge = set(graph.inputs)  # tensors that hold a graph input's codes unchanged

    def add(self, group: Group) -> None:
        """Prepare the kernel of one operator; raises ValueError where there is none, or a tensor is not uint8."""
        node = self.nodes[group.output]
        name = f"{node.op_type} node '{node.name or group.output}'"
        if group.op not in KERNELS:
            known = ", ".join(sorted(KERNELS))
            raise ValueError(f"{name}: no integer kernel; use target 'cpu', or replace it by one of {known}.")
        source = self.graph.float_names
        inputs = list(group.inputs) if group.op == "SiLU" else [source.get(t, t) for t in node.input]
        outputs = [float_name(o) for o in node.output]
        taken = [t for t in inputs if t in self.qparams]
        for tensor in (*taken, *outputs):
            dtype = self.qparams[tensor].dtype if tensor in self.qparams else "float32"
            if dtype != "uint8" and (tensor not in self.stored or group.op != "Conv"):
                raise ValueError(f"{name}: tensor '{tensor}' is {dtype}; quantize every activation to uint8.")
        op = Operator(
            kind=group.op,
            name=name,
            attr={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            stored=[self.stored.get(t, self.graph.constants.get(t)) for t in inputs],
            shapes=[np.shape(self.stored[t]) if t in self.stored else None for t in taken],
            inputs=[],
            outputs=[self.qparams[t] for t in outputs],
            kinds=[],
            edge=[],
        )
        self._prepare(op, taken, outputs)

    def _prepare(self, op: Operator, taken: list[str], outputs: list[str]) -> None:
        """One step more; `op` learns what is known of its inputs."""
        if op.kind == "Concat":
            taken = [self._at_scale_of(outputs[0], t) for t in taken]
        op = replace(
            op,
            inputs=[self.qparams[t] for t in taken],
            kinds=[self.made[t][0].kind if t in self.made else None for t in taken],
            edge=[t in self.edge for t in taken],
        )
        self.steps.append(Step(KERNELS[op.kind](op), taken, outputs))
        if op.kind in MOVES and op.edge[0]:
            self.edge.update(outputs)
        self.made |= dict.fromkeys(outputs, (op, taken))

    def _at_scale_of(self, target: str, tensor: str) -> str:
        """The tensor that Concat `target` reads: `tensor`, or what its producer makes at the Concat's scale."""
        wanted = self.qparams[target]
        if self.qparams[tensor] == wanted:
            return tensor
        if tensor in self.graph.inputs:
            return self._entry(target, tensor)
        if tensor in self.edge or tensor not in self.made:
            return tensor
        op, taken = self.made[tensor]
        if op.kind in FUSES_INTO_CONCAT | PASSES and self.qparams[tensor].zero_point == 0:
            # A range that begins at 0 clamps there, so the HTP keeps it and recodes.
            if op.kind not in ("Conv", "SiLU"):
                refuse(
                    op, f"its output has Z = 0 and Concat '{target}' another scale, whose rounding is not known here"
                )
            return tensor
        if op.kind in PASSES:
            before = taken
            if self.made[before[0]][0].kind in ("Concat", "Sigmoid") and self.qparams[before[0]] != wanted:
                refuse(op, f"it stands between a Concat or Sigmoid and Concat '{target}' of another scale")
            taken = [self._at_scale_of(target, t) for t in before]
            if taken == before:
                return tensor
        elif op.kind not in FUSES_INTO_CONCAT:
            return tensor
        again = f"{tensor} at the scale of {target}"
        self.qparams[again] = wanted
        self._prepare(replace(op, outputs=[wanted]), taken, [again])
        return again

    def _entry(self, target: str, tensor: str) -> str:
        """A graph input at the scale of Concat `target`: its codes come with those of the input."""
        entry, ratio = f"{tensor} at the scale of {target}", self.qparams[tensor].scale / self.qparams[target].scale
        if ratio >= 16:
            text = f"goes into Concat '{target}' at {ratio:.3g} times its scale, whose rounding is not known from 16 on"
            raise ValueError(f"input '{tensor}' {text}; give both one scale, or use target 'cpu' or 'htp'.")
        self.qparams[entry] = self.qparams[target]
        self.entries[entry] = tensor
        return entry
