"""Places of a graph where the HTP computes something else than the graph says: found by their form, before any run."""

from __future__ import annotations

from typing import NamedTuple

from onnx import NodeProto

from helpers.graph import QDQ, Model, ModelLike, float_name

# What the HTP looks up in a table of 256 entries, so that it writes straight at the scale of a Concat behind it.
TABLES = {"Sigmoid", "Tanh", "HardSigmoid", "Elu", "Exp", "Softplus", "Sin", "Abs"}
RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace"}
_PASSED = RESHAPES | {"Transpose", "Relu"}


class HtpFault(NamedTuple):
    """A Concat (`node`, by name) whose channels from `functions` (tensors) come at the scale of `inner`, a Concat
    before it, though the graph says that of `outer`, its own output; `remedy` is one sentence."""

    node: str
    functions: tuple[str, ...]
    inner: str
    outer: str
    remedy: str


def htp_faults(model: ModelLike) -> list[HtpFault]:
    """Every Sigmoid → Concat → Reshape → Concat of a graph, in its order, whose Concats have two scales.

    The HTP then leaves what came from the Sigmoid, or another function by table, at the first Concat's scale: codes
    q = x/S₁ + Z₁ are read as S₂·(q − Z₂). Other producers are right, and so is the Sigmoid without a Reshape that
    changes the shape, or with one scale for both. In a float graph, which has no scales, every such place is listed.
    Raises as `Model.of` does. Source: measured on onnxruntime-qnn 2.7.0, `tests/upstream/`.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[1,2,2,2] x, float[1,4,4] z)
    ...     => (float[1,8,4] y) <int64[3] shape = {1, 4, 4}>
    ...     { s = Sigmoid(x)  c = Concat<axis=1>(x, s)  r = Reshape(c, shape)  y = Concat<axis=1>(r, z) }''')
    >>> [(f.functions, f.inner, f.outer) for f in htp_faults(net)]
    [(('s',), 'c', 'y')]
    """
    graph, found = Model.of(model), []
    for node in graph.nodes:
        if node.op_type != "Concat":
            continue
        outer = float_name(node.output[0])
        for inner in _reshaped_concats(graph, node):
            functions = tuple(_origin(graph, t) for t in inner.input if _is_table(graph, _origin(graph, t)))
            name = float_name(inner.output[0])
            if (functions and _scale(graph, name) != _scale(graph, outer)) or (functions and not graph.is_quantized):
                text = f"give '{name}' the range of '{outer}' (`qdq.set_range`), or cut the graph at '{name}'"
                found.append(HtpFault(node.name, functions, name, outer, f"{text}."))
    return found


def _maker(graph: Model, tensor: str) -> NodeProto | None:
    """The operator that makes a tensor, behind any Q and DQ."""
    node = graph.producers.get(tensor)
    while node is not None and node.op_type in QDQ:
        node = graph.producers.get(node.input[0])
    return node


def _origin(graph: Model, tensor: str) -> str:
    """A tensor's name in the float graph."""
    return graph.float_names.get(tensor, tensor)


def _reshaped_concats(graph: Model, node: NodeProto) -> list[NodeProto]:
    """The Concats that reach an input of `node` through operators that move values, one of which changes a shape."""
    found = []
    for tensor in node.input:
        before, changed = _maker(graph, tensor), False
        while before is not None and before.op_type in _PASSED:
            shapes = [graph.shapes.get(t) for t in (before.input[0], before.output[0])]
            changed |= before.op_type in RESHAPES and shapes[0] != shapes[1]
            before = _maker(graph, before.input[0])
        if before is not None and before.op_type == "Concat" and changed and before not in found:
            found.append(before)
    return found


def _is_table(graph: Model, tensor: str) -> bool:
    """Whether a tensor of the float graph comes from a function by table, SiLU's Mul included."""
    node = next((n for n in graph.nodes if n.op_type not in QDQ and float_name(n.output[0]) == tensor), None)
    if node is None or node.op_type in TABLES:
        return node is not None
    gates = [n for n in (_maker(graph, t) for t in node.input) if n is not None and n.op_type == "Sigmoid"]
    inputs = [_origin(graph, t) for t in node.input]
    return node.op_type == "Mul" and any(_origin(graph, gate.input[0]) in inputs for gate in gates)


def _scale(graph: Model, tensor: str) -> tuple[float, int] | None:
    """(S, Z) of a tensor, None in a float graph."""
    params = graph.qparams.get(tensor)
    return None if params is None else (float(params.scale), int(params.zero_point))
