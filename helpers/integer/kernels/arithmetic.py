"""Sum, difference, product, larger and smaller of two tensors."""

from __future__ import annotations

import numpy as np

from helpers.affine import QParams
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import COMPUTES, FUSES_INTO_CONCAT, Compute, Operator, kernel, refuse


def two_inputs(op: Operator) -> tuple[QParams, QParams]:
    """QParams of two inputs; a constant of one element is another operator on the HTP: a table, not known here."""
    if len(op.inputs) != 2:
        refuse(op, "one of its inputs is not quantized")
    if any(shape is not None and np.prod(shape) == 1 for shape in op.shapes):
        refuse(op, "a constant of one element is not known here, fold it into the operators around it")
    return op.inputs[0], op.inputs[1]


@kernel("Add", FUSES_INTO_CONCAT, COMPUTES)
def add(op: Operator) -> Compute:
    """Sum of two tensors: q = clamp(⌊(q_a·m_a + q_b·m_b + c)·2⁻ᵏ⌋), 14-bit multipliers on one shift.

    k = 14 − exponent of (S_a + S_b)/S_y, at most 15; m = round(S/S_y·2ᵏ). The zero points and ½ are one constant
    c = Z_y·2ᵏ − Z_a·m_a − Z_b·m_b + 2ᵏ⁻¹, rounded to a multiple of 2⁸, halves down.
    """
    a, b = two_inputs(op)
    return _weighted_sum(op, (a, b), float(a.scale + b.scale), sign=1)


@kernel("Sub", FUSES_INTO_CONCAT, COMPUTES)
def sub(op: Operator) -> Compute:
    """Difference of two tensors: as `add`, with −m_b, and k = 14 − exponent of max(S_a, S_b)/S_y."""
    a, b = two_inputs(op)
    return _weighted_sum(op, (a, b), max(float(a.scale), float(b.scale)), sign=-1)


def _weighted_sum(op: Operator, inputs: tuple[QParams, QParams], reach: float, sign: int) -> Compute:
    """q = clamp(⌊(q_a·m_a ± q_b·m_b + c)·2⁻ᵏ⌋) as `add` says; `reach` is the scale that sets k."""
    (a, b), y = inputs, op.outputs[0]
    k = min(15, 14 - int(np.frexp(reach / float(y.scale))[1]))
    if k < 0:
        refuse(
            op, "its inputs' scales are so large beside its output's that the rounding is not known, widen its output"
        )
    ma, mb = (int(np.rint(np.float32(p.scale) / np.float32(y.scale) * np.float32(2.0**k))) for p in (a, b))
    mb *= sign
    exact = int(y.zero_point) * 2**k - int(a.zero_point) * ma - int(b.zero_point) * mb + 2**k // 2
    constant = (exact + 127) // 256 * 256
    left = (np.arange(256) * ma + constant).astype(np.int32)
    right = (np.arange(256) * mb).astype(np.int32)
    return lambda p, q: np.clip((left[p] + right[q]) >> k, 0, 255).astype(np.uint8)


@kernel("Max", FUSES_INTO_CONCAT, COMPUTES)
def larger(op: Operator) -> Compute:
    """The larger of two tensors, each brought to the output's scale first, by two roundings."""
    return _choice(op, np.maximum)


@kernel("Min", FUSES_INTO_CONCAT, COMPUTES)
def smaller(op: Operator) -> Compute:
    """The smaller of two tensors, each brought to the output's scale first, by two roundings."""
    return _choice(op, np.minimum)


def _choice(op: Operator, choose: np.ufunc) -> Compute:
    y = op.outputs[0]
    left, right = (htp_rounding.rescale_lut(x, y, first=True) for x in two_inputs(op))
    return lambda p, q: choose(left[p], right[q])


@kernel("Mul", FUSES_INTO_CONCAT, COMPUTES)
def mul(op: Operator) -> Compute:
    """Product of two tensors, in 16 bits: T = (q_a − Z_a)·(q_b − Z_b) + n, q = clamp(⌊(⌊T·m·2⁻¹⁵⌋ + c)·2⁻ˢ⌋).

    n = −256·round((255 − 2Z_a)(255 − 2Z_b)/512) centres T; m, c and s: `_mul_constants`.
    """
    (a, b), y = two_inputs(op), op.outputs[0]
    if any(shape is not None for shape in op.shapes):
        refuse(op, "a constant factor rounds in a way that is not known here to the last code")
    ratio, za, zb = float(a.scale) * float(b.scale) / float(y.scale), int(a.zero_point), int(b.zero_point)
    n = -256 * round((255 - 2 * za) * (255 - 2 * zb) / 512)
    constants = _mul_constants(ratio, n, int(y.zero_point))
    if constants is None:
        refuse(op, f"S_a·S_b/S_y = {ratio:.3g} is so large that its rounding is not known here, widen its output")
    m, c, s = constants

    def compute(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        product = (p.astype(np.int32) - za) * (q.astype(np.int32) - zb) + n
        scaled = (product * m) >> 15  # ⌊T·m·2⁻¹⁵⌋
        return np.clip((scaled + c) >> s, 0, 255).astype(np.uint8)

    return compute


def _mul_constants(ratio: float, n: int, zero: int) -> tuple[int, int, int] | None:
    """(m, c, s): m = round(r·2^(15+s)), c = round((Z_y + ½)·2ˢ − n·m·2⁻¹⁵), halves up, for r = S_a·S_b/S_y.

    s ≤ 7 is the largest with m < 2¹⁵ and c < 2¹⁵; None where no s from 1 on has them.
    """
    for s in range(min(7, -int(np.frexp(ratio)[1])), 0, -1):
        m = int(np.floor(ratio * 2.0 ** (15 + s) + 0.5))
        c = int(np.floor((zero + 0.5) * 2.0**s - n * m * 2.0**-15 + 0.5))
        if c < 2**15:
            return m, c, s
    return None
