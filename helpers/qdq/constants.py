"""What a graph computes of stored tensors alone, computed once and stored: such a tensor has no range."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from helpers import targets
from helpers.graph import Model, reads

RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def with_folded_constants(model: Model) -> Model:
    """The same graph with the outputs of Constant nodes, and of nodes that read nothing but stored ones, stored.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { c = Constant<value_float = 2.0>()  d = Neg(c)  y = Mul(x, d) }''')
    >>> made = with_folded_constants(Model(net))
    >>> [n.op_type for n in made.nodes], made.constants
    (['Mul'], {'d': array(-2., dtype=float32)})
    """
    known = {t.name for t in model.proto.graph.initializer}
    constant: list[onnx.NodeProto] = []
    for node in model.nodes:
        if node.op_type not in RANDOM and all(name in known for name in reads(node) if name):
            constant.append(node)
            known.update(node.output)
    made = {name for node in constant for name in node.output}
    left = [node for node in model.nodes if node not in constant]
    wanted = [name for name in dict.fromkeys(t for node in left for t in reads(node)) if name in made]
    if not constant or not made.isdisjoint(model.outputs):
        return model  # an output that no input moves has to be made by a node
    part, other = model.copy(), model.copy()
    for graph, nodes in ((part.proto.graph, constant), (other.proto.graph, left)):
        kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del graph.node[:]
        graph.node.extend(kept)
    del part.proto.graph.input[:]
    del part.proto.graph.value_info[:]
    if wanted:
        values = targets.load(part.with_outputs(wanted)).run(None, {})
        other.proto.graph.initializer.extend(map(numpy_helper.from_array, values, wanted))
    return other
