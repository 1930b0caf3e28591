"""Wrong answers to chapter 06's tables, as readers write them: (build, function, words of the sentence)."""

import numpy as np


def two_roundings(scale, zero_point, out_scale, out_zero_point):
    q = np.arange(256) - zero_point
    gate = np.round(255 / (1 + np.exp(-q * scale)))
    return np.clip(np.round(q * scale * gate / 255 / out_scale) + out_zero_point, 0, 255)


def sigmoid_alone(scale, zero_point, out_scale, out_zero_point):
    y = 1 / (1 + np.exp(-scale * (np.arange(256) - zero_point)))
    return np.clip(np.round(y / out_scale + out_zero_point), 0, 255)


def one_rounding(q, zero_point, m, e, new_zero_point):
    product = (q.astype(int) - zero_point) * m
    return np.clip((product + (1 << 14 - e) >> 15 - e) + new_zero_point, 0, 255)


def half_to_even(q, zero_point, m, e, new_zero_point):
    return np.clip(np.round((q.astype(float) - zero_point) * m / 2.0 ** (15 - e)) + new_zero_point, 0, 255)


def two_always(q, zero_point, m, e, new_zero_point):
    steps = np.floor(128 * (q.astype(float) - zero_point) * m / 2.0 ** (15 - e) + 0.5) / 128
    return np.clip(np.floor(steps + 0.5) + new_zero_point, 0, 255)


WRONG = [
    ("lookup.silu", two_roundings, "Round once"),
    ("lookup.silu", sigmoid_alone, "table of σ(x)"),
    ("lookup.recode", one_rounding, "rounds twice"),
    ("lookup.recode", half_to_even, "A half goes up"),
    ("lookup.recode", two_always, "Only below ½"),
]
