"""Matrix products: with weights that the graph stores, and of two activations."""

from __future__ import annotations

import numpy as np

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
    """x·W, rounded as a 1×1 convolution: q = requantize(Σ (q_x − Z_x)·q_w)."""
    weight = stored(op, 1, "second factor")
    if weight.ndim != 2:
        refuse(op, f"weights of {weight.ndim} dimensions are not known here, only of 2")
    sums = prepare(op, weight.T, 1)
    return lambda codes, *_: _rows(sums, codes)


def _rows(sums: Sums, codes: np.ndarray) -> np.ndarray:
    """Codes (…, channels) of codes (…, depth)."""
    flat = moved(codes.reshape(-1, codes.shape[-1]).T)
    return sums.codes(flat).T.reshape(*codes.shape[:-1], -1)
