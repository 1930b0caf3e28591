"""Wrong answers to chapter 09, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np


def negative_sides(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    both = w * h
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def no_union(a, b):
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))


def width_and_height(a, b):
    w = max(0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    h = max(0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


def plain_exp(logits):
    e = np.exp(logits)
    p = e / np.sum(e)
    return sum(k * share for k, share in enumerate(p))


def best_bin(logits):
    return float(list(logits).index(max(logits)))


def bins_from_one(logits):
    e = np.exp(logits - np.max(logits))
    return float(np.sum(np.arange(1, len(e) + 1) * e) / np.sum(e))


WRONG = [
    ("yolo.iou", negative_sides, "went below 0"),
    ("yolo.iou", no_union, "counts the overlap twice"),
    ("yolo.iou", width_and_height, "the other corner"),
    ("yolo.dfl_decode", plain_exp, "too large for a float"),
    ("yolo.dfl_decode", best_bin, "largest bin alone"),
    ("yolo.dfl_decode", bins_from_one, "from 1"),
]
