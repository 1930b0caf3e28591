"""Softmax: powers of two in 15 bits, divided by their sum."""

from __future__ import annotations

import numpy as np

from helpers.integer.kernels.operator import CONSTANT, Compute, Operator, kernel, refuse

_LONG = 17  # from so many numbers on; fewer are divided in a way that is not known here


@kernel("Softmax")
def softmax(op: Operator) -> Compute:
    """exp(x)/Σ exp(x): e = ⌊2^(15 − (max q − q)·s)⌋, q' = clamp(⌊2¹⁶·e/(k·Σe) + ½⌋), k = ⌊2¹⁶·S'⌋.

    s = S·log₂e, cut to 8 bits (`_steepness`): exponents are up to 0.8 % too small. Equal in 99.98 % of codes on the
    HTP, whose division is a little less exact, else one step apart. Z does not matter; the HTP forgets Z'. Raises
    ValueError for another Z' than 0, for fewer than 17 numbers, for S' outside of 1/512 … 1/128, behind a factor of one
    element and in front of a Concat.
    """
    x, y = op.inputs[0], op.outputs[0]
    axis = int(op.attr.get("axis", -1))
    if y.zero_point != 0:
        refuse(op, f"its output has Z = {int(y.zero_point)}, which the HTP forgets; give it a range that begins at 0")
    if op.kinds[0] in (CONSTANT + "Mul", CONSTANT + "Div") or "Concat" in op.readers:
        refuse(op, "behind a factor of one element, or in front of a Concat, its rounding is not known here")
    if not 1 / 512 <= y.scale <= 1 / 128:
        refuse(op, f"its output's scale is {float(y.scale):.3g}, known here is 1/512 to 1/128; set its range to (0, 1)")
    if (length := op.sizes[0][axis]) < _LONG:
        refuse(op, f"of {length} numbers its rounding is not known here, only of {_LONG} or more")
    powers = np.floor(2.0 ** (15 - np.arange(256) * _steepness(float(x.scale)))).astype(np.int64)
    divisor = np.floor(float(y.scale) * 2**16)

    def compute(codes: np.ndarray) -> np.ndarray:
        e = powers[codes.max(axis, keepdims=True) - codes]
        share = e * 2.0**16 / (divisor * e.sum(axis, keepdims=True))
        return np.minimum(np.floor(share + 0.5), 255).astype(np.uint8)

    return compute


def _steepness(scale: float) -> float:
    """S·log₂e cut to its 8 highest bits, at most 14 of them behind the point."""
    exact = scale * np.log2(np.e)
    places = min(8 - int(np.frexp(exact)[1]), 14)
    return float(np.floor(exact * 2.0**places) * 2.0**-places)
