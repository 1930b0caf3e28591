"""A QDQ graph read: which tensor has which scale, and what a compiler may compute as one kernel."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from helpers.affine import QParams
from helpers.graph.model import QDQ, Model, ModelLike, float_name


def list_qparams(qdq_model: ModelLike) -> dict[str, QParams]:
    """Every scale of a QDQ graph: {tensor of the float graph: QParams} for activations, weights and biases.

    Raises as `Model.of` does. Source: ONNX QuantizeLinear and DequantizeLinear.

    >>> from onnx.helper import make_graph, make_model, make_node, make_tensor
    >>> s, z = make_tensor("s", 1, [], [0.5]), make_tensor("z", 2, [], [3])
    >>> q = make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    >>> list_qparams(make_model(make_graph([q], "g", [], [], [s, z])))["x"].zero_point
    3
    """
    return dict(Model.of(qdq_model).qparams)


class Group(NamedTuple):
    """What a compiler may compute as one integer kernel: its op, its nodes' names, the float graph's tensors around."""

    op: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str


def fused_groups(model: ModelLike) -> list[Group]:
    """Units of a QDQ graph in its order: an operator with the DQ before and the Q behind it; SiLU as one unit.

    x·σ(x) is a function of one 8-bit code, so Sigmoid and Mul together are a table of 256 entries, unless something
    else reads the Sigmoid too. Raises as `Model.of` does. Source: ONNX Runtime, "Quantize ONNX models", QDQ format.

    >>> import onnx.parser
    >>> text = '''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { s = Sigmoid(x)  y = Mul(x, s) }'''
    >>> [(g.op, g.inputs, g.output) for g in fused_groups(onnx.parser.parse_model(text))]
    [('SiLU', ('x',), 'y')]
    """
    graph = Model.of(model)
    source, groups = graph.float_names, []
    for node in graph.nodes:
        if node.op_type not in (*QDQ, "Constant"):
            inputs = tuple(source.get(t, t) for t in node.input if t)
            groups.append(Group(node.op_type, (node.name,), inputs, float_name(node.output[0])))
    reads = Counter([t for group in groups for t in group.inputs] + [source.get(o, o) for o in graph.outputs])
    gates = {group.output: group for group in groups if group.op == "Sigmoid" and reads[group.output] == 1}
    merged, gone = [], set()
    for group in groups:
        gate = next((gates[t] for t in group.inputs if t in gates), None)
        if group.op == "Mul" and gate and set(group.inputs) == {gate.output, gate.inputs[0]}:
            gone.add(gate)
            group = Group("SiLU", gate.nodes + group.nodes, gate.inputs, group.output)
        merged.append(group)
    return [group for group in merged if group not in gone]


def shared_scale(qdq_model: ModelLike) -> list[tuple[str, ...]]:
    """Activations of a QDQ graph in its order, those that store one scale together (a MaxPool's input and output).

    Raises as `Model.of` does.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> shared_scale(net)
    [('x',)]
    """
    graph = Model.of(qdq_model)
    groups: dict[str, list[str]] = {}  # {name of the stored scale: tensors}
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            tensors = groups.setdefault(node.input[1], [])
            tensor = graph.float_names[node.output[0]]
            if tensor not in tensors:
                tensors.append(tensor)
    return [tuple(tensors) for tensors in groups.values()]
