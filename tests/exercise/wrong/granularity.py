"""Wrong answers to chapter 03, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np


def repeated(weight, qmax):
    return np.repeat(np.abs(weight).max() / qmax, weight.shape[0])


def inputs(weight, qmax):
    tops = np.abs(weight).max(axis=(0, 2, 3))
    return np.where(tops == 0, 1, tops / qmax)


def signed(weight, qmax):
    tops = np.array([channel.max() for channel in weight])
    return np.where(tops == 0, 1, tops / qmax)


def eight_bits(q_w, scale_w, q_x, scale_x):
    return np.array([s * scale_x * np.sum(row * q_x, dtype=np.int8) for row, s in zip(q_w, scale_w, strict=True)])


def scale_inside(q_w, scale_w, q_x, scale_x):
    return (q_w * scale_w[None, :]) @ (q_x * scale_x)


def searched_once(weight, shares):
    scales = np.abs(weight).max() * shares / 7
    errors = [((weight - s * np.clip(np.round(weight / s), -8, 7)) ** 2).sum() for s in scales]
    return np.full(len(weight), scales[np.argmin(errors)])


def unclamped(weight, shares):
    out = []
    for w in weight:
        scales = np.abs(w).max() * shares / 7
        out.append(min(scales, key=lambda s: np.sum((w - s * np.round(w / s)) ** 2) if s else 0) or 1.0)
    return np.array(out)


WRONG = [
    ("granularity.per_channel", repeated, "one scale for all"),
    ("granularity.per_channel", inputs, "input channels"),
    ("granularity.per_channel", signed, "misses the negative ones"),
    ("granularity.integer_layer", eight_bits, "wrapped around"),
    ("granularity.integer_layer", scale_inside, "along the inputs"),
    ("granularity.least_error_scales", searched_once, "whole tensor"),
    ("granularity.least_error_scales", unclamped, "Clamp them"),
]
