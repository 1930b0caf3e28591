"""x = S·(q − Z): real numbers as integer codes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Numbers = float | np.number | np.ndarray | Sequence[Any]

# 4-bit codes live in 8-bit arrays: NumPy has no smaller integer. int32 is what biases and accumulators use.
_BITS = {"uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "uint4": 4, "int4": 4, "int32": 32}
_STORED = {"uint4": "uint8", "int4": "int8"}


def qrange(dtype: str) -> tuple[int, int]:
    """Smallest and largest code of a dtype: (0, 2ᵇ − 1) unsigned, (−2ᵇ⁻¹, 2ᵇ⁻¹ − 1) signed.

    Raises ValueError for an unknown dtype. Source: ONNX QuantizeLinear.

    >>> qrange("int8"), qrange("uint4")
    ((-128, 127), (0, 15))
    """
    if dtype not in _BITS:
        raise ValueError(f"dtype '{dtype}' is unknown; choose one of {', '.join(_BITS)}.")
    bits = _BITS[dtype]
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale S and zero point Z of one tensor: x = S·(q − Z).

    `scale` and `zero_point` are numbers (per-tensor), or arrays of one length along `axis` (per-axis). The scale
    is rounded to float32 on entry, as ONNX stores it. Raises ValueError for what ONNX could not hold: an unknown
    dtype, shapes that do not fit, a scale that is not positive and finite, a zero point that is no code.
    Source: ONNX QuantizeLinear.

    >>> QParams(0.5, 3, "uint8")
    QParams(scale=0.5, zero_point=3, dtype='uint8', axis=None)
    """

    scale: float | np.ndarray
    zero_point: int | np.ndarray
    dtype: str
    axis: int | None = None

    def __post_init__(self) -> None:
        qmin, qmax = qrange(self.dtype)
        scale, zero = np.asarray(self.scale, np.float32), np.asarray(self.zero_point)
        if scale.ndim != (0 if self.axis is None else 1):
            raise ValueError(
                f"scale has shape {scale.shape} and axis is {self.axis}; "
                "give a number without axis, or a one-dimensional array with its axis."
            )
        if zero.shape != scale.shape:
            raise ValueError(f"zero_point has shape {zero.shape}, scale {scale.shape}; they must be alike.")
        if not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
            raise ValueError(f"scale must be positive and finite in float32, not {self.scale}.")
        if not np.array_equal(zero, np.rint(zero)) or zero.min() < qmin or zero.max() > qmax:
            raise ValueError(f"zero_point {self.zero_point} is no code of {self.dtype}, {qmin} … {qmax}.")
        object.__setattr__(self, "scale", scale if scale.ndim else float(scale))
        object.__setattr__(self, "zero_point", zero.astype(np.int64) if zero.ndim else int(zero))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, QParams)
            and (self.dtype, self.axis) == (other.dtype, other.axis)
            and bool(np.array_equal(self.scale, other.scale) and np.array_equal(self.zero_point, other.zero_point))
        )


def choose_qparams(
    rmin: Numbers, rmax: Numbers, dtype: str = "uint8", symmetric: bool = False, axis: int | None = None
) -> QParams:
    """Scale and zero point that cover [rmin, rmax], widened to hold 0, which gets a code of its own.

    S = (rmax − rmin)/(qmax − qmin), Z = round(qmin − rmin/S), half to even. Symmetric: S = max|r|/qmax and
    Z = 0 for signed dtypes (the lowest code stays unused), S = 2·max|r|/(qmax − qmin) and Z in the middle for
    unsigned ones. A range of nothing but 0 gets S = 1. `rmin`, `rmax`: real units; arrays along `axis`, if given.

    Raises ValueError for a range that is reversed or not finite, for an unknown dtype, and as `QParams` does.
    Source: Jacob et al., "Quantization and Training of Neural Networks…", 2018; as ONNX Runtime's quantizer.

    >>> choose_qparams(-1.0, 3.0).zero_point
    64
    >>> choose_qparams([-1, -4], [2, 1], "int8", symmetric=True, axis=0).scale * 127
    array([2., 4.], dtype=float32)
    """
    qmin, qmax = qrange(dtype)
    low, high = np.asarray(rmin, np.float64), np.asarray(rmax, np.float64)
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low <= high)):
        raise ValueError(f"range ({rmin}, {rmax}) is not two finite numbers with rmin ≤ rmax.")
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    middle = 0 if qmin else (qmax + 1) // 2
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
        if qmin:
            qmin = -qmax
    scale = (high - low) / (qmax - qmin)
    empty = scale < np.finfo(np.float32).tiny
    scale = np.where(empty, 1.0, scale)
    zero = np.where(empty, 0, np.rint(qmin - low / scale))
    if symmetric:
        zero = np.full(scale.shape, middle)
    zero = np.clip(zero, qmin, qmax).astype(np.int64)
    return QParams(scale[()], zero[()], dtype, axis)


def broadcast(qp: QParams, shape: tuple[int, ...], name: str = "x") -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point, shaped to broadcast along their axis against a tensor of `shape`.

    Raises ValueError, naming the tensor, where that axis has another length.

    >>> broadcast(QParams([0.5, 2], [0, 0], "int8", axis=0), (2, 3))[0].shape
    (2, 1)
    """
    scale, zero = np.asarray(qp.scale, np.float32), np.asarray(qp.zero_point)
    if qp.axis is None:
        return scale, zero
    if not -len(shape) <= qp.axis < len(shape) or shape[qp.axis] != scale.size:
        raise ValueError(
            f"tensor '{name}' has shape {shape}, but its QParams hold {scale.size} scales along axis {qp.axis}."
        )
    view = [1] * len(shape)
    view[qp.axis] = -1
    return scale.reshape(view), zero.reshape(view)


def _codes(values: np.ndarray, dtype: str) -> np.ndarray:
    """Whole numbers clamped to the codes of a dtype, in the array type that holds them."""
    return np.clip(values, *qrange(dtype)).astype(_STORED.get(dtype, dtype))


def quantize(x: ArrayLike, qp: QParams, *, name: str = "x") -> np.ndarray:
    """Codes of real numbers: q = clamp(round(x/S) + Z, qmin, qmax), round half to even, in float32 as ONNX does.

    Any shape; 4-bit codes come in 8-bit arrays. Raises ValueError, naming the tensor, for NaN, infinity or a
    shape that does not fit. Source: ONNX QuantizeLinear.

    >>> quantize([-9.0, 0.0, 0.25, 0.75, 9.0], QParams(0.5, 3, "uint4"))
    array([ 0,  3,  3,  5, 15], dtype=uint8)
    """
    x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        wrong = np.argwhere(~np.isfinite(x))
        raise ValueError(
            f"tensor '{name}' holds {np.isnan(x).sum()} NaN and {np.isinf(x).sum()} infinite value(s), "
            f"the first at index {tuple(wrong[0].tolist())}; no code stands for them, so find where they arise."
        )
    scale, zero = broadcast(qp, x.shape, name)
    with np.errstate(over="ignore"):  # a quotient past float32 saturates like any other
        steps = np.rint(x / scale)
    return _codes(steps.astype(np.float64) + zero, qp.dtype)


def dequantize(q: ArrayLike, qp: QParams, *, name: str = "q") -> np.ndarray:
    """Real numbers of codes: x = S·(q − Z), float32. Raises ValueError for a shape that does not fit.

    Source: ONNX DequantizeLinear.

    >>> dequantize([0, 3, 15], QParams(0.5, 3, "uint4"))
    array([-1.5,  0. ,  6. ], dtype=float32)
    """
    q = np.asarray(q).astype(np.int64)
    scale, zero = broadcast(qp, q.shape, name)
    return (q - zero).astype(np.float32) * scale


def fake_quantize(x: ArrayLike, qp: QParams, *, name: str = "x") -> np.ndarray:
    """The nearest numbers that the codes can say: dequantize(quantize(x)), float32, in x's shape.

    Raises ValueError as `quantize` does. Source: Jacob et al. 2018, section 3.

    >>> fake_quantize([0.2, 0.3, 99.0], QParams(0.5, 0, "uint8"))
    array([ 0. ,  0.5, 99. ], dtype=float32)
    """
    return dequantize(quantize(x, qp, name=name), qp, name=name)


def quantize_multiplier(real: ArrayLike) -> tuple[int, int] | tuple[np.ndarray, np.ndarray]:
    """A positive real factor as integers: real ≈ mantissa · 2⁻³¹ · 2^shift, mantissa in [2³⁰, 2³¹).

    The relative error is at most 2⁻³¹. Scalars or arrays. Raises ValueError unless 2⁻³¹ ≤ real < 2³⁰.
    Source: Jacob et al. 2018, section 2.2; gemmlowp, "Quantization example".

    >>> quantize_multiplier(0.75)
    (1610612736, 0)
    """
    real = np.asarray(real, np.float64)
    if not np.all((real >= 2.0**-31) & (real < 2.0**30)):
        raise ValueError(f"multiplier {real} is outside of 2⁻³¹ … 2³⁰; check the scales that it was made from.")
    fraction, shift = np.frexp(real)
    mantissa = np.rint(fraction * 2.0**31).astype(np.int64)
    carried = mantissa == 2**31
    mantissa = np.where(carried, 2**30, mantissa)
    shift = (shift + carried).astype(np.int64)
    return (mantissa, shift) if real.ndim else (int(mantissa), int(shift))


def requantize(
    acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, zero_point: ArrayLike, dtype: str
) -> np.ndarray:
    """Codes of int32 accumulators: clamp(round(acc · multiplier · 2^(shift − 31)) + Z), integers only.

    One rounding, half up (towards +∞), as TensorFlow Lite's single-rounding mode. `multiplier`, `shift` and
    `zero_point` broadcast against `acc`. Raises ValueError for an unknown dtype. Source: Jacob et al. 2018, equation 7.

    >>> requantize([10, -10, 400], *quantize_multiplier(0.75), zero_point=0, dtype="int8")
    array([  8,  -7, 127], dtype=int8)
    """
    product = np.asarray(acc, np.int64) * np.asarray(multiplier, np.int64)  # below 2⁶², so half a step more still fits
    places = 31 - np.asarray(shift, np.int64)
    half = np.int64(1) << (places - 1)
    rounded = (product + half) >> places  # ⌊product·2^−places + ½⌋
    return _codes(rounded + np.asarray(zero_point, np.int64), dtype)
