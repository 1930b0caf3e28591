"""Wrong answers to chapter 06's sums, as readers write them: (build, function, words of the sentence)."""

import numpy as np


def unsigned_window(window, weight, zero_point, bias):
    return np.sum((window - zero_point).astype(int) * weight.astype(int)) + bias


def short_sum(window, weight, zero_point, bias):
    return ((window.astype(int) - zero_point) * weight).sum(dtype=np.int16) + bias


def zero_point_at_the_end(window, weight, zero_point, bias):
    total = bias - zero_point
    for q, w in zip(window.ravel(), weight.ravel(), strict=True):
        total += int(q) * int(w)
    return total


def multiplies_in_floats(total, m, e, zero_point):
    return np.clip(np.round(total * m * 2.0 ** (e - 12) + zero_point), 0, 255)


def forgets_what_was_cut(total, m, e, zero_point):
    kept = np.floor(total * 2.0 ** (3 + e)).astype(int)
    return np.clip((kept * m + 2**14 >> 15) + zero_point, 0, 255)


def uint8_too_early(total, m, e, zero_point):
    kept = np.floor(total * 2.0 ** (e + 3)).astype(int)
    return ((((kept * 2 + 1) * m + 2**15) >> 16) + zero_point).astype(np.uint8)


WRONG = [
    ("integer.accumulate", unsigned_window, "wrapped around"),
    ("integer.accumulate", short_sum, "16 bits"),
    ("integer.accumulate", zero_point_at_the_end, "once, from the sum"),
    ("integer.requantize", multiplies_in_floats, "multiplied the whole sum"),
    ("integer.requantize", forgets_what_was_cut, "counts as one half"),
    ("integer.requantize", uint8_too_early, "cast before you clamped"),
]
