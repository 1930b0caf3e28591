"""A QDQ file made of a plain list of nodes: what somebody wrote by hand, as a graph that runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from helpers.affine import QParams, quantize
from helpers.graph import Model, ModelLike, StrPath, float_model, save_model

ListedNode = tuple[str, tuple[str, ...], tuple[str, ...]]  # operator, inputs, outputs
OPERATORS = {"Q": "QuantizeLinear", "DQ": "DequantizeLinear"}


def assemble(fp32: ModelLike, nodes: Iterable[ListedNode], qparams: Mapping[str, QParams], out: StrPath) -> Path:
    """Write the QDQ file that a list of nodes describes, and return `out`.

    A node is (operator, inputs, outputs): ("Q", (t,), (t_q,)) and ("DQ", (t_q,), (t_dq,)) of a tensor t, and the float
    graph's own nodes, found by their first output, with their attributes; listed inputs t_dq take the place of t. What
    is listed twice counts once. Codes of stored tensors come from `qparams`, {t: QParams}. An output t of the
    graph becomes t_dq, under its old name. Raises ValueError for a node that the float graph does not have, for a
    tensor without QParams, and for codes of 4 bits, which the float graph's operator set does not know.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }')
    >>> listed = [("Q", ("x",), ("x_q",)), ("DQ", ("x_q",), ("x_dq",)), ("Relu", ("x_dq",), ("y",)),
    ...           ("Q", ("y",), ("y_q",)), ("DQ", ("y_q",), ("y_dq",))]
    >>> params = {"x": QParams(0.1, 10, "uint8"), "y": QParams(0.05, 0, "uint8")}
    >>> path = assemble(net, listed, params, getfixture("tmp_path") / "qdq.onnx")
    >>> [node.op_type for node in Model.of(path).nodes]
    ['QuantizeLinear', 'DequantizeLinear', 'Relu', 'QuantizeLinear', 'DequantizeLinear']
    """
    source = float_model(fp32)
    made = source.copy().proto
    del made.graph.node[:]
    own = {node.output[0]: node for node in source.nodes}
    for op, inputs, outputs in dict.fromkeys((op, tuple(inputs), tuple(outputs)) for op, inputs, outputs in nodes):
        if op in OPERATORS:
            tensor = (outputs if op == "Q" else inputs)[0].removesuffix("_q")
            made.graph.node.append(_pair_node(op, inputs[0], outputs[0], tensor, qparams))
        elif outputs[0] in own:
            made.graph.node.append(_rewired(own[outputs[0]], inputs))
        else:
            raise ValueError(f"{source}: no node makes '{outputs[0]}'; list the nodes of this float graph.")
    used = {t for node in made.graph.node for t in node.input}
    _store(made, source, qparams, used)
    _as_onnx_runtime_names(made, source)
    return save_model(made, out)


def _pair_node(op: str, reads: str, makes: str, tensor: str, qparams: Mapping[str, QParams]) -> onnx.NodeProto:
    """A Q or DQ node that reads the scale and the zero point of `tensor`."""
    if tensor not in qparams:
        raise ValueError(f"tensor '{tensor}' has no scale; name one that the QDQ graph quantizes.")
    if qparams[tensor].dtype.endswith("int4"):
        raise ValueError(f"tensor '{tensor}' has codes of 4 bits; give QParams of 8, 16 or 32 bits.")
    axis = qparams[tensor].axis
    names = [reads, f"{tensor}_scale", f"{tensor}_zero_point"]
    node = onnx.helper.make_node(OPERATORS[op], names, [makes], f"{op} of {tensor}")
    if axis is not None:
        node.attribute.append(onnx.helper.make_attribute("axis", axis))
    return node


def _rewired(node: onnx.NodeProto, inputs: tuple[str, ...]) -> onnx.NodeProto:
    """The same node; those of its inputs that are listed as t_dq are read from there."""
    other = onnx.NodeProto()
    other.CopyFrom(node)
    for k, name in enumerate(node.input):
        if f"{name}_dq" in inputs:
            other.input[k] = f"{name}_dq"
    return other


def _store(made: onnx.ModelProto, source: Model, qparams: Mapping[str, QParams], used: set[str]) -> None:
    """Scales, zero points and the codes of stored tensors, of those names that the nodes read."""
    found = {name: array for name, array in source.constants.items() if name in used}
    for tensor, params in qparams.items():
        if f"{tensor}_scale" in used:
            found[f"{tensor}_scale"] = np.asarray(params.scale, np.float32)
            found[f"{tensor}_zero_point"] = np.asarray(params.zero_point, params.dtype)
        if f"{tensor}_q" in used and tensor in source.constants:
            found[f"{tensor}_quantized"] = stored_codes(source.constants[tensor], params)
    del made.graph.initializer[:]
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in found.items())


def stored_codes(array: np.ndarray, params: QParams) -> np.ndarray:
    """Codes of a stored tensor as ONNX Runtime's quantizer makes them: 32-bit ones, of biases, in float64.

    >>> stored_codes(np.float32([1.0, -2.0]), QParams(0.5, 0, "int32"))
    array([ 2, -4], dtype=int32)
    """
    if params.dtype != "int32":
        return quantize(array, params)
    return np.rint(array.astype(np.float64) / params.scale).astype(np.int32)


def _as_onnx_runtime_names(made: onnx.ModelProto, source: Model) -> None:
    """DQ's result carries the graph output's name; stored codes and floats before Q are named as `float_name` reads."""
    new = {f"{t}_dq": t for t in source.outputs} | {t: f"{t}_QuantizeLinear_Input" for t in source.outputs}
    new |= {f"{t}_q": f"{t}_quantized" for t in source.constants}
    for node in made.graph.node:
        node.input[:] = [new.get(t, t) for t in node.input]
        node.output[:] = [new.get(t, t) for t in node.output]
