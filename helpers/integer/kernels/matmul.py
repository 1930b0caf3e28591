"""Matrix products: with weights that the graph stores, and of two activations."""

from __future__ import annotations

import numpy as np

from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import (
    COMPUTES,
    FUSES_INTO_CONCAT,
    WEIGHTED,
    Compute,
    Operator,
    kernel,
    refuse,
    stored,
)
from helpers.integer.kernels.sums import Sums, moved, prepare


@kernel("Gemm", FUSES_INTO_CONCAT, COMPUTES, WEIGHTED)
def gemm(op: Operator) -> Compute:
    """x·Wᵀ + b (transB = 1) or x·W + b, rounded as a 1×1 convolution: q = requantize(Σ (q_x − Z_x)·q_w + bias)."""
    if any(op.attr.get(name, 1) != 1 for name in ("alpha", "beta")) or op.attr.get("transA"):
        refuse(op, "alpha, beta other than 1 and transA are not done here, fold them into its weights")
    weight = stored(op, 1, "weights")
    sums = prepare(op, weight, 0) if op.attr.get("transB") else prepare(op, weight.T, 1)
    return lambda codes, *_: _rows(sums, codes)


@kernel("MatMul", FUSES_INTO_CONCAT, COMPUTES, WEIGHTED)
def matmul(op: Operator) -> Compute:
    """x·W, rounded as a 1×1 convolution: q = requantize(Σ (q_x − Z_x)·q_w); of two activations: `_of_activations`."""
    weight = op.stored[1]
    if weight is None:
        return _of_activations(op)
    if weight.ndim != 2:
        refuse(op, f"weights of {weight.ndim} dimensions are not known here, only of 2")
    sums = prepare(op, weight.T, 1)
    return lambda codes, *_: _rows(sums, codes)


def _of_activations(op: Operator) -> Compute:
    """x·y of two activations, rounded in the same way: q = requantize(Σ (q_a − Z_a)·(q_b − 128)).

    Its second factor goes through the matrix unit as int8. With Z_b = 128 that loses nothing.
    """
    if len(op.inputs) != 2 or op.stored[0] is not None:
        refuse(op, "a first factor that the graph stores is not known here")
    (a, b), y = op.inputs, op.outputs[0]
    if b.zero_point != 128:
        what = f"its second factor has Z = {b.zero_point} and differences q − Z of 9 bits, whose rounding is not known"
        refuse(op, f"{what}; give that a range around 0, Z = 128")
    multiplier = np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale)
    m, e = (v.astype(np.int32) for v in htp_rounding.fixed_point(multiplier, 12))

    def compute(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        sums = (p.astype(np.float64) - int(a.zero_point)) @ (q.astype(np.float64) - 128)  # exact in float64
        return htp_rounding.htp_requantize(sums.astype(np.int32), m, e, int(y.zero_point))

    return compute


def _rows(sums: Sums, codes: np.ndarray) -> np.ndarray:
    """Codes (…, channels) of codes (…, depth)."""
    flat = moved(codes.reshape(-1, codes.shape[-1]).T)
    return sums.codes(flat).T.reshape(*codes.shape[:-1], -1)
