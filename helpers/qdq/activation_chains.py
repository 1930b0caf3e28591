"""Activation functions that an exporter wrote as several nodes, made one again: one 8-bit table instead of three."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from helpers.graph import Model, reads

Gate = Callable[[Model, str], str | None]  # (model, tensor) → x where the tensor is some gate of x


def with_activations(model: Model) -> tuple[Model, str]:
    """The same graph with HardSwish and Mish as one node each, and a line that counts them, "" if there are none.

    HardSwish(x) = x·clip(x + 3, 0, 6)/6, Mish(x) = x·tanh(ln(1 + eˣ)). ONNX Runtime's optimiser takes both apart.
    Source: ONNX HardSwish (operator set 14) and Mish (18).

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)  y = Mul(x, s) }''')
    >>> with_activations(Model(net))[1]
    '1 chain(s) became HardSwish'
    """
    opset = next(o.version for o in model.proto.opset_import if o.domain in ("", "ai.onnx"))
    found: dict[str, tuple[str, str]] = {}  # {output: (operator, input)}
    for node in model.nodes:
        if source := _hard_swish(model, node):
            found[node.output[0]] = ("HardSwish", source)
        elif opset >= 18 and (source := _mish(model, node)):
            found[node.output[0]] = ("Mish", source)
    if not found:
        return model, ""
    other = model.copy()
    for node in other.proto.graph.node:
        if node.output[0] in found:
            operator, source = found[node.output[0]]
            node.CopyFrom(onnx.helper.make_node(operator, [source], node.output, name=node.name))
    counts = {name: sum(name == op for op, _ in found.values()) for name in ("HardSwish", "Mish")}
    said = ", ".join(f"{count} chain(s) became {name}" for name, count in counts.items() if count)
    return without_unread(other), said


def without_unread(model: Model) -> Model:
    """The same graph without nodes that make nothing that is read, and without stored tensors that nobody reads."""
    other = model.copy()
    graph = other.proto.graph
    read = {o.name for o in graph.output}
    for node in reversed(list(graph.node)):
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(reads(node))
    kept = [t for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return other


def _number(model: Model, tensor: str) -> float | None:
    """The one number that a stored tensor holds."""
    stored = model.constants.get(tensor)
    return float(stored.reshape(())) if stored is not None and stored.size == 1 else None


def _with_number(model: Model, node: onnx.NodeProto | None, operator: str, number: float) -> str | None:
    """What a node of this operator takes beside that number."""
    if node is None or node.op_type != operator:
        return None
    for source, other in (node.input, reversed(node.input)) if operator != "Div" else (node.input,):
        value = _number(model, other)
        if value is not None and np.isclose(value, number, rtol=1e-4):
            return source
    return None


def _sixth(model: Model, node: onnx.NodeProto | None) -> str | None:
    """t of t/6."""
    return _with_number(model, node, "Div", 6) or _with_number(model, node, "Mul", 1 / 6)


def _gate6(model: Model, tensor: str) -> str | None:
    """x of a tensor clip(x + 3, 0, 6)."""
    clip = model.producers.get(tensor)
    if clip is None or clip.op_type != "Clip" or len(clip.input) < 3:
        return None
    if (_number(model, clip.input[1]), _number(model, clip.input[2])) != (0, 6):
        return None
    return _with_number(model, model.producers.get(clip.input[0]), "Add", 3)


def _gate(model: Model, tensor: str) -> str | None:
    """x of a tensor clip(x + 3, 0, 6)/6, as HardSigmoid or as its chain."""
    node = model.producers.get(tensor)
    if node is not None and node.op_type == "HardSigmoid":
        given = {a.name: a.f for a in node.attribute}
        if np.allclose([given.get("alpha", 0.2), given.get("beta", 0.5)], [1 / 6, 0.5], rtol=1e-4):
            return node.input[0]
    inner = _sixth(model, node)
    return _gate6(model, inner) if inner else None


def _hard_swish(model: Model, node: onnx.NodeProto) -> str | None:
    """x, where the node makes HardSwish(x): x·gate(x), or (x·clip(x + 3, 0, 6))/6."""
    if inner := _sixth(model, node):
        product = model.producers.get(inner)
        return _product_with(model, product, _gate6)
    return _product_with(model, node, _gate)


def _product_with(model: Model, node: onnx.NodeProto | None, gate: Gate) -> str | None:
    """x, where the node makes x·gate(x)."""
    if node is None or node.op_type != "Mul":
        return None
    first, second = node.input
    return next((x for x, g in ((first, second), (second, first)) if gate(model, g) == x), None)


def _mish(model: Model, node: onnx.NodeProto) -> str | None:
    """x, where the node makes x·tanh(softplus(x))."""

    def gate(model: Model, tensor: str) -> str | None:
        tanh = model.producers.get(tensor)
        softplus = model.producers.get(tanh.input[0]) if tanh is not None and tanh.op_type == "Tanh" else None
        return softplus.input[0] if softplus is not None and softplus.op_type == "Softplus" else None

    return _product_with(model, node, gate)
