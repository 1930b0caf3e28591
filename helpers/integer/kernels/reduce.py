"""Along axes: mean, sum, largest and smallest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from helpers.integer import htp_rounding
from helpers.integer.kernels.movement import rescale
from helpers.integer.kernels.operator import COMPUTES, Compute, Operator, kernel, refuse, stored


def _axes(op: Operator) -> tuple[int, ...] | None:
    """The axes of a reduction, in an attribute or, from opset 13 or 18 on, in a constant; None for all."""
    axes = op.attr.get("axes")
    if axes is None and len(op.stored) > 1:
        axes = stored(op, 1, "axes")
    if axes is None or not len(axes):
        if op.attr.get("noop_with_empty_axes"):
            refuse(op, "noop_with_empty_axes is not done here, leave the node out")
        return None
    return tuple(int(i) for i in axes)


@kernel("ReduceMax", COMPUTES)
def reduce_max(op: Operator) -> Compute:
    """The largest code along the axes, then brought to the output's scale."""
    return _extreme(op, np.max)


@kernel("ReduceMin", COMPUTES)
def reduce_min(op: Operator) -> Compute:
    """The smallest code along the axes, then brought to the output's scale."""
    return _extreme(op, np.min)


def _extreme(op: Operator, extreme: Callable[..., np.ndarray]) -> Compute:
    axes, table, keep = _axes(op), rescale(op), bool(op.attr.get("keepdims", 1))
    return lambda x: table[extreme(x, axes, keepdims=keep)]


@kernel("ReduceMean", COMPUTES)
def reduce_mean(op: Operator) -> Compute:
    """TODO"""
    x, y, axes = op.inputs[0], op.outputs[0], _axes(op)
    ratio = float(x.scale) / float(y.scale)

    def compute(codes: np.ndarray) -> np.ndarray:
        sums = (codes.astype(np.int64) - int(x.zero_point)).sum(axes, keepdims=bool(op.attr.get("keepdims", 1)))
        return htp_rounding.scale_sum(sums, ratio * sums.size / codes.size, int(y.zero_point))

    return compute
