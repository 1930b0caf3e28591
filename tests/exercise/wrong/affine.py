"""Wrong answers to chapter 01, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np


def cast_first(x, scale, zero_point, qmin, qmax):
    q = (np.round(np.asarray(x) / scale) + zero_point).astype(np.uint8 if qmin == 0 else np.int8)
    return np.clip(q, qmin, qmax)


def half_up(x, scale, zero_point, qmin, qmax):
    q = [int(np.floor(v / scale + 0.5)) + zero_point for v in x]
    return np.array([min(max(v, qmin), qmax) for v in q])


def int_cast(x, scale, zero_point, qmin, qmax):
    return np.clip((x / scale).astype(int) + zero_point, qmin, qmax)


def unsigned_difference(q, scale, zero_point):
    return (q - np.array(zero_point, np.uint8)) * scale


def zero_point_in_reals(q, scale, zero_point):
    return q * scale - zero_point


def range_as_given(low, high):
    scale = (high - low) / 255 if high > low else 1.0
    return scale, round(-low / scale)


def all_256(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 256 if high > low else 1.0
    return scale, round(-low / scale)


WRONG = [
    ("affine.quantize", cast_first, "before you clamped"),
    ("affine.quantize", half_up, "halves up"),
    ("affine.quantize", int_cast, "cut off the fraction"),
    ("affine.dequantize", unsigned_difference, "wrapped around"),
    ("affine.dequantize", zero_point_in_reals, "before the step"),
    ("affine.choose_qparams", range_as_given, "0 is not in your range"),
    ("affine.choose_qparams", all_256, "divided by 256"),
]
