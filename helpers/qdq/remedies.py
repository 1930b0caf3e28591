"""Why the HTP refuses an operator in 8 bits, and what to write instead: a table, each line tried on the emulator."""

from __future__ import annotations

from typing import NamedTuple

import onnx

from helpers.graph import Model


class Remedy(NamedTuple):
    """One refusal in words: the reason, and what to do."""

    why: str
    remedy: str


_NONE = "the HTP has no such operator in 8 bits"
_DATA = "the size of its output depends on the data, and the HTP compiles fixed sizes"
_CUT = "end the graph before it and compute the rest on the CPU"
# Measured on onnxruntime-qnn 2.7.0's emulator (soc_model 60, v73); tests/qdq/test_preflight.py tries every line.
REMEDIES = {
    "Erf": Remedy(_NONE, "write the whole x·(1 + Erf(x/√2))/2 as Gelu (operator set 20), which `prepare` does itself"),
    "Softsign": Remedy(_NONE, "write it as x / (1 + Abs(x))"),
    "Celu": Remedy(_NONE, "write it as Elu where alpha is 1"),
    "Shrink": Remedy(_NONE, "write it with Sub and Relu"),
    "Hardmax": Remedy(_NONE, "write it as Gather of an identity matrix at ArgMax"),
    "Sinh": Remedy(_NONE, "write it as (Exp(x) − Exp(−x)) / 2"),
    "Cosh": Remedy(_NONE, "write it as (Exp(x) + Exp(−x)) / 2"),
    "Mod": Remedy(_NONE, "write it as x − k·Floor(x / k)"),
    "ReduceL1": Remedy(_NONE, "write it as ReduceSum(Abs(x))"),
    "ReduceSumSquare": Remedy(_NONE, "write it as ReduceSum(Mul(x, x))"),
    "ReduceLogSum": Remedy(_NONE, "write it as Log(ReduceSum(x))"),
    "ReduceLogSumExp": Remedy(_NONE, "write it as Log(ReduceSum(Exp(x)))"),
    "GlobalLpPool": Remedy(_NONE, "write it as ReduceL2 over height and width"),
    "Trilu": Remedy(_NONE, "write it as Mul with a stored triangle of ones"),
    "OneHot": Remedy(_NONE, "write it as Gather of an identity matrix"),
    "DFT": Remedy(_NONE, "write it as MatMul with a stored matrix of sines and cosines"),
    "MaxUnpool": Remedy(_NONE, "write it as Resize, which needs no positions"),
    "ReduceProd": Remedy(_NONE, _CUT),
    "Det": Remedy(_NONE, _CUT),
    "LayerNormalization": Remedy(
        "the HTP normalizes over the last axis alone",
        "Reshape or Transpose before it, so that it has one axis, the last",
    ),
    "Resize": Remedy("the HTP resizes two axes at most", "Reshape to 4 axes and resize in two steps"),
    "MaxPool": Remedy("the HTP pools over two axes at most", "Reshape to 4 axes and pool in two steps"),
    "NonMaxSuppression": Remedy(_DATA, _CUT + " (`qdq.split_head` does so for YOLO)"),
    "NonZero": Remedy(_DATA, _CUT),
    "Unique": Remedy(_DATA, _CUT),
    "Compress": Remedy(_DATA, "write it as Gather where the condition is stored; else " + _CUT),
    "Loop": Remedy("the HTP has no loops", "export it unrolled, for a fixed number of turns"),
    "Scan": Remedy("the HTP has no loops", "export it unrolled, for a fixed number of turns"),
}
NEEDS_FORM = {"LayerNormalization", "Resize", "MaxPool"}  # refused in some forms alone
LARGEST_RANK = 5
NO_TYPES = {"double", "string", "complex64", "complex128", "bfloat16"}


def remedy(model: Model, node: onnx.NodeProto) -> Remedy:
    """What to say of a node that the HTP refused: by its operator, rank, type or size, in that order.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Softsign(x) }')
    >>> remedy(Model(net), net.graph.node[0]).remedy
    'write it as x / (1 + Abs(x))'
    """
    tensors = [t for t in (*node.input, *node.output) if t in model.shapes]
    rank = max((len(model.shapes.get(t, ())) for t in tensors), default=0)
    if rank > LARGEST_RANK:
        why = f"its tensors have {rank} axes and the HTP takes {LARGEST_RANK}"
        return Remedy(why, "merge axes that stay side by side (Reshape), or transpose in two steps")
    if found := sorted(NO_TYPES & {_type_of(model, t) for t in tensors}):
        return Remedy(f"it computes in {found[0]}, which the HTP does not have", "export it in float32")
    if node.op_type in REMEDIES:
        return REMEDIES[node.op_type]
    if any(0 in model.shapes.get(t, (0,)) for t in node.output if t):
        return Remedy(_DATA, "give every input its size with `--shape`; if it depends on values, " + _CUT)
    return Remedy("the HTP refuses it in this form and says no reason", "write it with other operators, or " + _CUT)


def _type_of(model: Model, tensor: str) -> str:
    """A tensor's element type as onnx calls it, "" where it is not known."""
    return onnx.TensorProto.DataType.Name(model.element_types.get(tensor, 0)).lower()
