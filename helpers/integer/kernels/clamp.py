"""Activations that the HTP joins with what stands before them: Relu and Clip are left to the range of their output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.integer.kernels.operator import CONSTANT, Operator, refuse
from helpers.integer.kernels.tables import bounds

_SUMS = {"BatchNormalization", "Conv", "Gemm", "MatMul"}  # a MatMul with weights
_CONSTANTS = {CONSTANT + kind for kind in ("Add", "Sub", "Mul", "Div")}
_ARITHMETIC = _CONSTANTS | {"Add", "Conv", "ConvTranspose", "Gemm", "Mul", "SiLU", "Sub"}
_JOINED = {  # {activation: what it is joined with, if that stands before it}
    "Clip": _ARITHMETIC,
    "Relu": _ARITHMETIC | _SUMS | {"InstanceNormalization"},
    "HardSwish": _SUMS | {"Concat"},  # joined with more than 8 bits in between, as the next
    "LeakyRelu": _SUMS | {"Concat", "ConvTranspose"},
}
_SHAPES = {"Reshape", "Transpose", "Slice", "Flatten", "Squeeze", "Unsqueeze"}
_THROUGH = {  # data movement between the two that does not always keep them apart
    "Clip": _SHAPES,
    "Relu": _SHAPES,
    "HardSwish": {"Transpose", "Resize"},
    "LeakyRelu": {"Transpose", "Resize"},
}


def dropped(op: Operator, before: Sequence[Operator]) -> bool:
    """Whether `op` is nothing but the range of its output, at which the operator before it computes straight.

    So it is of a Relu if S·(0 − Z) ≥ 0, of a Clip if S·(0 − Z) ≥ low *or* S·(255 − Z) ≤ high, in float32: a Clip with
    one bound is lost. `before` are the operators before it, the nearest first, up to one that computes. Raises
    ValueError where the two are joined in a way that is not known.
    """
    if not before or op.kind not in _JOINED or not _joined(op, before):
        return False
    by_range = _by_range(op)
    # A table where its range does less, but a Relu behind a Conv.
    if not by_range and (op.kind == "Clip" or (op.kind == "Relu" and before[-1].kind != "Conv")):
        return False
    if not by_range or len(before) > 1:
        refuse(op, f"behind {' and '.join(o.kind for o in reversed(before))} its rounding is not known here")
    return True


def _joined(op: Operator, before: Sequence[Operator]) -> bool:
    maker, moves = before[-1], {o.kind for o in before[:-1]}
    of_two_activations = maker.kind == "MatMul" and maker.stored[1] is None
    apart = moves and not moves & _THROUGH[op.kind]
    return maker.kind in _JOINED[op.kind] and not of_two_activations and not apart


def _by_range(op: Operator) -> bool:
    """Whether the range of the output does what a Relu or Clip does, as the HTP judges it."""
    y = op.outputs[0]
    first, last = (np.float32(y.scale) * np.float32(code - int(y.zero_point)) for code in (0, 255))
    if op.kind == "Clip":
        low, high = bounds(op)
        return bool(first >= low or last <= high)
    return bool(op.kind == "Relu" and first >= 0)
