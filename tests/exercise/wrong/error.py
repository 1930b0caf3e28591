"""Wrong answers to chapter 02, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np


def twenty(x, y):
    noise = np.linalg.norm(x - y) ** 2
    return 20 * np.log10(np.linalg.norm(x) ** 2 / noise) if noise else np.inf


def upside_down(x, y):
    return 10 * np.log10(((x - y) ** 2).mean() / (x**2).mean())


def natural(x, y):
    return 10 * np.log((x**2).sum() / ((x - y) ** 2).sum())


def own_counts(x, scale, qmin, qmax):
    y = scale * np.clip(np.rint(x / scale), qmin, qmax)
    clipped = (x < (qmin - 0.5) * scale) | (x > (qmax + 0.5) * scale)
    errors = (x - y) ** 2
    return (
        errors[clipped].mean() if clipped.any() else 0.0,
        errors[~clipped].mean() if not clipped.all() else 0.0,
    )


def counted_twice(x, scale, qmin, qmax):
    y = scale * np.clip(np.rint(x / scale), qmin, qmax)
    clipped = np.abs(x - y) > 0.5 * scale
    return ((x - y)[clipped] ** 2).sum() / len(x), ((x - y) ** 2).mean()


def strict_range(x, scale, qmin, qmax):
    inside = (x >= scale * qmin) & (x <= scale * qmax)
    errors = (x - scale * np.clip(np.rint(x / scale), qmin, qmax)) ** 2
    return errors[~inside].sum() / x.size, errors[inside].sum() / x.size


def unclamped(w, ends):
    errors = [((w - np.round(w / (end / 7)) * (end / 7)) ** 2).sum() for end in ends]
    return ends[np.argmin(errors)]


def largest(w, ends):
    return max(ends)


def place(w, ends):
    errors = []
    for end in ends:
        scale = end / 7
        errors.append(np.mean((w - scale * np.clip(np.rint(w / scale), -8, 7)) ** 2))
    return np.argmin(errors)


WRONG = [
    ("error.sqnr", twenty, "belongs to amplitudes"),
    ("error.sqnr", upside_down, "noise over signal"),
    ("error.sqnr", natural, "natural logarithm"),
    ("error.split_error", own_counts, "by its own count"),
    ("error.split_error", counted_twice, "counts twice"),
    ("error.split_error", strict_range, "half a step beyond"),
    ("error.best_end", unclamped, "nothing is ever clipped"),
    ("error.best_end", largest, "the largest weight itself"),
    ("error.best_end", place, "place in the list"),
]
