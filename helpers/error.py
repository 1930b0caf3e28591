"""How wrong quantization is, and why: clipping or rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from helpers.affine import QParams, broadcast, dequantize, qrange, quantize


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not a.size:
        raise ValueError(f"shapes {a.shape} and {b.shape} cannot be compared; give two equal, non-empty shapes.")
    return a, b


def mse(reference: ArrayLike, test: ArrayLike) -> float:
    """Mean squared error: mean((a − b)²), in squared units of the tensors. Any equal shapes.

    Raises ValueError for unequal or empty shapes, as every function of two tensors here does.

    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    a, b = _pair(reference, test)
    return float(np.mean((a - b) ** 2))


def sqnr_db(reference: ArrayLike, test: ArrayLike) -> float:
    """Signal to quantization noise ratio: 10·log₁₀(Σ a² / Σ (a − b)²), dB; inf where nothing differs.

    −inf for a reference of zeros that was changed. About 6 dB a bit. Raises ValueError as `mse` does.
    Source: Widrow & Kollár, "Quantization Noise", 2008.

    >>> round(sqnr_db([1.0, -1.0], [1.1, -1.1]), 3)
    20.0
    """
    a, b = _pair(reference, test)
    signal, noise = np.sum(a**2), np.sum((a - b) ** 2)
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def cosine(reference: ArrayLike, test: ArrayLike) -> float:
    """Cosine similarity: Σ ab / (‖a‖·‖b‖), in −1…1; blind to a common factor. 1 for two tensors of zeros.

    0 where only one of them is zeros. Raises ValueError as `mse` does.

    >>> round(cosine([1.0, 2.0], [2.0, 4.0]), 12)
    1.0
    """
    a, b = _pair(reference, test)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    if norms == 0:
        return float(np.array_equal(a, b))
    return float(np.clip(np.sum(a * b) / norms, -1, 1))


def power_sums(reference: ArrayLike, test: ArrayLike) -> tuple[float, float, float, float]:
    """(Σ a², Σ (a − b)², Σ a·b, Σ b²): what SQNR and cosine are made of, and what adds up input by input.

    Any equal shapes, empty ones too. Raises ValueError for unequal sizes.

    >>> power_sums([1.0, 2.0], [1.0, 4.0])
    (5.0, 4.0, 9.0, 17.0)
    """
    a, b = np.asarray(reference, np.float64).ravel(), np.asarray(test, np.float64).ravel()
    return float(a @ a), float((a - b) @ (a - b)), float(a @ b), float(b @ b)


def lsb_diff(codes_a: ArrayLike, codes_b: ArrayLike) -> np.ndarray:
    """Difference of two code tensors in steps (least significant bits): a − b as int64, so that nothing wraps.

    Any equal shapes. Raises ValueError for unequal shapes and for what is not integers.

    >>> lsb_diff(np.array([250, 3], np.uint8), np.array([3, 250], np.uint8))
    array([ 247, -247])
    """
    a, b = np.asarray(codes_a), np.asarray(codes_b)
    if a.shape != b.shape or a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise ValueError(
            f"codes of {a.dtype} {a.shape} and {b.dtype} {b.shape} cannot be compared; give two equal integer arrays."
        )
    return a.astype(np.int64) - b.astype(np.int64)


def split_error(x: ArrayLike, qp: QParams, *, name: str = "x") -> tuple[float, float]:
    """Mean squared error split by its cause: (clipping, rounding), whose sum is `mse(x, fake_quantize(x, qp))`.

    Clipping is the error of values beyond the first or last code by more than half a step, rounding that of
    all others; both are divided by the number of all values. Squared units of x. Raises ValueError as `quantize` does.

    >>> split_error([0.25, 10.0], QParams(1.0, 0, "uint4"))
    (0.0, 0.03125)
    >>> split_error([0.25, 17.0], QParams(1.0, 0, "uint4"))
    (2.0, 0.03125)
    """
    x = np.asarray(x, np.float32)
    codes = quantize(x, qp, name=name)
    gap = x.astype(np.float64) - dequantize(codes, qp)
    step, _ = broadcast(qp, x.shape, name)
    ends = np.isin(codes, qrange(qp.dtype))
    clipped = ends & (np.abs(gap) > step / 2)
    return float(np.sum(gap**2, where=clipped) / x.size), float(np.sum(gap**2, where=~clipped) / x.size)
