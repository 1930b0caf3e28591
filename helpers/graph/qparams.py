"""A QDQ graph read: which tensor has which scale, and what a compiler may compute as one kernel."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from helpers.affine import QParams
from helpers.graph.model import QDQ, Model, float_name


def list_qparams(model) -> dict[str, QParams]:
    """The contract in numbers: {tensor of the float graph: QParams} for activations, weights and biases.

    `model` is a path, a ModelProto or a `Model`. The scale is a float, or an array along `axis`, as stored.

    >>> from onnx.helper import make_graph, make_model, make_node, make_tensor
    >>> s, z = make_tensor("s", 1, [], [0.5]), make_tensor("z", 2, [], [3])
    >>> q = make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    >>> list_qparams(make_model(make_graph([q], "g", [], [], [s, z])))["x"].zero_point
    3
    """
    return dict(Model.of(model).qparams)


class Group(NamedTuple):
    """What a compiler may compute as one integer kernel: its op, nodes, and the float graph's tensors around it."""

    op: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str


def fused_groups(model) -> list[Group]:
    """Units of a QDQ graph in its order: an operator with the DQ before and the Q behind it; SiLU as one unit.

    x·σ(x) is a function of one 8-bit code, so Sigmoid and Mul together are a table of 256 entries, unless something
    else reads the Sigmoid too. This is the rule by which a compiler may group; what a backend did, chapter 08 measures.
    `model` is a path, a ModelProto or a `Model`. Source: ONNX Runtime, "Quantize ONNX models", QDQ format.

    >>> import onnx.parser
    >>> text = '''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { s = Sigmoid(x)  y = Mul(x, s) }'''
    >>> [(g.op, g.inputs, g.output) for g in fused_groups(onnx.parser.parse_model(text))]
    [('SiLU', ('x',), 'y')]
    """
    model = Model.of(model)
    source, groups = model.float_names, []
    for node in model.nodes:
        if node.op_type not in (*QDQ, "Constant"):
            inputs = tuple(source.get(t, t) for t in node.input if t)
            groups.append(Group(node.op_type, (node.name,), inputs, float_name(node.output[0])))
    read = Counter([t for g in groups for t in g.inputs] + [source.get(o, o) for o in model.outputs])
    sigmoids = {g.output: g for g in groups if g.op == "Sigmoid" and read[g.output] == 1}
    merged, gone = [], set()
    for g in groups:
        gate = next((sigmoids[t] for t in g.inputs if t in sigmoids), None) if g.op == "Mul" else None
        if gate and set(g.inputs) == {gate.output, gate.inputs[0]}:
            gone.add(gate)
            g = Group("SiLU", gate.nodes + g.nodes, gate.inputs, g.output)
        merged.append(g)
    return [g for g in merged if g not in gone]


def shared_scale(model) -> list[tuple[str, ...]]:
    """Activations of a QDQ graph in its order, those that store one scale together (a MaxPool's input and output).

    `model` is a path, a ModelProto or a `Model`.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> shared_scale(net)
    [('x',)]
    """
    model, groups = Model.of(model), {}
    for node in model.nodes:
        if node.op_type == "QuantizeLinear":
            groups.setdefault(node.input[1], {})[model.float_names[node.output[0]]] = None
    return [tuple(group) for group in groups.values()]
