"""The shapes and types of a graph's inner tensors, as ONNX infers them."""

from __future__ import annotations

import onnx

from helpers.graph import files
from helpers.graph.files import bytes_of, is_large


def with_inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`proto`, which it may edit, with what ONNX infers; a large one is inferred without its large stored tensors.

    >>> from onnx.parser import parse_model
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] z) { y = Relu(x) z = Relu(y) }'
    >>> [value.name for value in with_inferred(parse_model(text)).graph.value_info]
    ['y']
    """
    if not is_large(proto):
        return onnx.shape_inference.infer_shapes(proto)
    found = onnx.shape_inference.infer_shapes(_without_weights(proto)).graph
    for values, other in ((proto.graph.value_info, found.value_info), (proto.graph.output, found.output)):
        del values[:]
        values.extend(other)
    return proto


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its large stored tensors as inputs, of which only the shape is known."""
    graph = proto.graph
    large = [t for t in graph.initializer if bytes_of(t) >= files.BESIDE]
    inputs = {i.name: i for i in graph.input}
    inputs |= {t.name: onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in large}
    small = [t for t in graph.initializer if bytes_of(t) < files.BESIDE]
    nodes, outputs, known = list(graph.node), list(graph.output), list(graph.value_info)
    light = onnx.helper.make_graph(nodes, graph.name, list(inputs.values()), outputs, small, value_info=known)
    opsets = list(proto.opset_import)
    return onnx.helper.make_model(light, opset_imports=opsets, ir_version=proto.ir_version, functions=proto.functions)
