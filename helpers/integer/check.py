"""What a graph must be, so that its codes are those of its scales: refused by name where it is not."""

from __future__ import annotations

import onnx

from helpers.graph import QDQ, Model, float_name


def check(graph: Model) -> None:
    """Raise ValueError, naming the tensor, for a graph whose codes would not be those of `list_qparams`.

    Refused: an opset below 13, inputs of other types than float, uint8, int32, int64 and bool, activations that are not
    uint8, that have a scale per channel or two scales, or that are quantized twice.

    >>> from helpers import assets
    >>> check(Model.of(assets.model()))
    """
    opset = max((o.version for o in graph.proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < 13:
        raise ValueError(f"the graph has opset {opset}; convert it to 13 or newer with `onnx.version_converter`.")
    for name, value in graph.inputs.items():
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        if kind not in ("FLOAT", "UINT8", "INT32", "INT64", "BOOL"):
            raise ValueError(f"input '{name}' is {kind.lower()}; give the graph float or uint8 inputs.")
    numbers_of: dict[str, list[float]] = {}  # {tensor in front of a Q: scale and zero point of that Q and its DQs}
    for node in graph.nodes:
        if node.op_type in QDQ and node.input[0] not in graph.constants:
            numbers = _numbers(graph, node)
            tensor = _in_front(graph, node)
            if numbers_of.setdefault(tensor, numbers) != numbers:
                raise ValueError(f"tensor '{float_name(tensor)}' has two scales in its Q and DQ nodes; give it one.")


def _in_front(graph: Model, node: onnx.NodeProto) -> str:
    """The tensor that a Q or DQ is about: what its Q reads, or what it reads itself."""
    before = graph.producers.get(node.input[0])
    if before is None or before.op_type not in QDQ or before.input[0] in graph.constants:
        return node.input[0]
    if node.op_type == "QuantizeLinear" and before.op_type == "DequantizeLinear":
        tensor = float_name(node.input[0])
        raise ValueError(f"tensor '{tensor}' is quantized a second time; give each tensor one pair of Q and DQ.")
    return before.input[0] if before.op_type == "QuantizeLinear" else node.input[0]


def _numbers(graph: Model, node: onnx.NodeProto) -> list[float]:
    """An activation's scale and zero point as its node stores them; raises ValueError unless it is one of uint8."""
    tensor = float_name(node.input[0])
    numbers = [graph.constants[name] for name in node.input[1:]]
    if any(v.size != 1 for v in numbers):
        raise ValueError(f"tensor '{tensor}' has a scale per channel; give every activation one scale.")
    dtype = numbers[1].dtype.name if len(numbers) > 1 else "uint8"
    if dtype != "uint8":
        raise ValueError(f"tensor '{tensor}' is {dtype}; quantize every activation to uint8.")
    return [v.item() for v in numbers]
