"""How Qualcomm's HTP rounds: multipliers, requantization, tables and biases, measured on onnxruntime-qnn 2.7.0, v73."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from helpers.affine import QParams, dequantize, quantize


def fixed_point(real: ArrayLike, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """A positive real as whole numbers (m, e): real ≈ m·2^(e − bits), m in [2^(bits−1), 2^bits), halves up.

    Numbers or arrays of any shape.

    >>> [int(v) for v in fixed_point(0.75, 12)]
    [3072, 0]
    """
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    m = np.floor(fraction * 2**bits + 0.5).astype(np.int64)
    carried = m == 2**bits
    return np.where(carried, 2 ** (bits - 1), m), exponent + carried


def quantize_input(x: ArrayLike, qp: QParams, *, name: str = "x") -> np.ndarray:
    """Codes of a float graph input, as the HTP makes them: q = clamp(round(float16(x·r)) + Z), r = float32(1/S).

    The product is rounded once, to float16, not through float32; then halves away from 0. ONNX (`affine.quantize`)
    divides in float32 and rounds halves to even. Raises ValueError as it does.

    >>> quantize_input([0.25, -0.25, 100.24], QParams(0.5, 3, "uint8"))
    array([  4,   2, 204], dtype=uint8)
    """
    quantize(x, qp, name=name)  # for its complaints
    with np.errstate(over="ignore"):  # past float16 is past every code
        inverse = np.float64(np.float32(1) / np.float32(qp.scale))
        steps = (np.float64(np.asarray(x, np.float32)) * inverse).astype(np.float16).astype(np.float32)
    steps = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps)
    return np.clip(steps + np.float32(qp.zero_point), 0, 255).astype(np.uint8)


def _shifted(x: np.ndarray, places: int) -> np.ndarray:
    """⌊x·2^−places + ½⌋ of whole numbers."""
    half = (1 << places) >> 1  # 0 where nothing is cut
    return (x + half) >> places


def rescale_lut(source: QParams, target: QParams, first: bool = False, sign: int = 1) -> np.ndarray:
    """The table that takes every code of one scale to another: a 15-bit multiplier, halves up.

    q' = clamp(⌊(q − Z)·r + ½⌋ + Z'), r = S/S' in [2^(e−1), 2ᵉ). Two roundings where r < ½: once to 7 fractional
    bits, then to none. `first`, of a tensor that lies flat, not in tiles, always rounds twice, min(6, 7 − e) bits in
    between. `sign` −1 takes −x there.

    >>> rescale_lut(QParams(0.5, 0, "uint8"), QParams(1.0, 0, "uint8"))[:5]
    array([0, 1, 1, 2, 2], dtype=uint8)
    """
    m, exponent = fixed_point(source.scale / target.scale, 15)
    e = int(exponent)
    product, shift = (np.arange(256) - source.zero_point) * m * sign, 15 - e  # product·2^−shift = (q − Z)·r
    kept = shift  # fractional bits that the last rounding takes away
    if first:
        kept = min(6, 7 - e)
    elif e < 0:
        kept = 7
    if kept < shift:
        product = _shifted(product, shift - kept)
    return np.clip(_shifted(product, kept) + target.zero_point, 0, 255).astype(np.uint8)


def half_float_lut(source: QParams, target: QParams) -> np.ndarray:
    """The table that takes every code of one scale to another where the HTP computes in float16.

    x = float16((q − Z)·float16(S)), and q' as `quantize_input` makes it of x.

    >>> half_float_lut(QParams(0.5, 0, "uint8"), QParams(1.0, 0, "uint8"))[:5]
    array([0, 1, 1, 2, 2], dtype=uint8)
    """
    real = (np.arange(256) - int(source.zero_point)) * np.float64(np.float16(source.scale))
    return quantize_input(real.astype(np.float16), target)


def function_lut(function: Callable[[np.ndarray], np.ndarray], source: QParams, target: QParams) -> np.ndarray:
    """A function of one code as 256 codes: q' = clamp(round(f(x)·r + Z')), r = float32(1/S'), half to even, Z' inside.

    x, f(x), the product and the sum are each rounded to float32. `function` is called with 256 real numbers, float64.

    >>> from helpers.graph.activations import sigmoid
    >>> function_lut(sigmoid, QParams(0.5, 0, "uint8"), QParams(1 / 255, 0, "uint8"))[:3]
    array([127, 159, 186], dtype=uint8)
    """
    y = function(dequantize(np.arange(256), source).astype(np.float64)).astype(np.float32)
    steps = y * (np.float32(1) / np.float32(target.scale)) + np.float32(target.zero_point)
    return np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def stored_bias(bias: np.ndarray, scale: np.float32, unit: np.float32, per_channel: bool = True) -> np.ndarray:
    """The bias that the accumulators receive: b·S_b/(S_x·S_w) in float32, cut towards 0, which at times loses a unit.

    Beside weights of one scale per channel, S_b and S_w are the largest ones, and b·S_b is first kept in 28-bit
    fractions of its largest. Computed exactly, all this would change nothing.
    `bias` are int32 codes, `scale` is S_b, `unit` S_x·S_w. int64.

    >>> stored_bias(np.array([7, -3]), np.float32(0.5), np.float32(0.5))
    array([ 7, -3])
    """
    real = bias.astype(np.float32) * scale
    if per_channel and real.any():
        step = np.abs(real).max() * np.float32(2.0**-28)
        real = np.rint(real * (1 / step)).astype(np.float32) * step
    return np.trunc(real / unit).astype(np.int64)


def htp_requantize(acc: np.ndarray, m: np.ndarray, e: np.ndarray, zero_point: int) -> np.ndarray:
    """Codes of int32 accumulators times M = m·2^(e − 12), as Hexagon's matrix unit rounds: `acc` is overwritten.

    First acc loses its lowest bits, so many that M·2^s is in [1/16, 1/8); what is lost counts as one half:
    t = ⌊acc·2⁻ˢ⌋, q = clamp(⌊(t + ½)·M·2ˢ + ½⌋ + Z). `m`, `e` (from `fixed_point`, 12 bits) broadcast against `acc`.

    >>> htp_requantize(np.array([100, 107, 108, 1 << 20], np.int32), *fixed_point(0.0625, 12), 0)
    array([  6,   7,   7, 255], dtype=uint8)
    """
    # With s = −3 − e, M·2ˢ = m·2⁻¹⁵, so that (t + ½)·M·2ˢ + ½ = (t·2m + m + 2¹⁵)·2⁻¹⁶.
    if np.any(e > -3):
        np.clip(acc, -(1 << 16), 1 << 16, out=acc)  # saturated in any case, and the shift cannot overflow
        acc <<= np.maximum(e + 3, 0)
    acc >>= np.maximum(-3 - e, 0)
    np.clip(acc, -8192, 8191, out=acc)
    acc *= 2 * m
    acc += m + (1 << 15)
    acc >>= 16
    acc += zero_point
    return np.clip(acc, 0, 255, out=acc).astype(np.uint8)


def vector_requantize(acc: np.ndarray, m: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Codes of int32 accumulators times M = m·2^(e − 15), as its vector unit rounds: halves up, nothing cut before.

    q = clamp(⌊acc·M + ½⌋): the zero point is in acc already, as round(Z/M). `m`, `e` (from `fixed_point`, 15 bits)
    broadcast against `acc`.

    >>> vector_requantize(np.array([100, 104, 105, 1 << 20]), *fixed_point(0.0625, 15))
    array([  6,   7,   7, 255], dtype=uint8)
    """
    return np.clip(np.floor(acc * (m * 2.0 ** (e - 15)) + 0.5), 0, 255).astype(np.uint8)  # exact in float64


def scale_sum(total: np.ndarray, real: ArrayLike, zero_point: int) -> np.ndarray:
    """Codes of whole numbers times a real number, halves up: q = clamp(⌊(total·m + 2ᵏ⁻¹)·2⁻ᵏ⌋ + Z).

    m·2⁻ᵏ is `real` with 15 bits; it broadcasts against `total`.

    >>> scale_sum(np.array([9, 13, 14, -14]), 1 / 9, 3)
    array([4, 4, 5, 1], dtype=uint8)
    """
    m, e = fixed_point(real, 15)
    k = 15 - e
    return np.clip(((total.astype(np.int64) * m + (1 << (k - 1))) >> k) + zero_point, 0, 255).astype(np.uint8)
