"""Wrong answers to chapter 12's agreement, level channels and softmax, as readers write them."""

import numpy as np


def of_the_columns(before, after):
    return float(np.mean(np.argmax(before, 0) == np.argmax(after, 0)))


def same_scores(before, after):
    return sum(a.max() == b.max() for a, b in zip(before, after, strict=True)) / len(before)


def counts(before, after):
    return float(sum(a.argmax() == b.argmax() for a, b in zip(before, after, strict=True)))


def upside_down(w1, b1, w2):
    r1, r2 = np.max(np.abs(w1), 1), np.max(np.abs(w2), 0)
    s = (r2 / r1) ** 0.5
    return (w1.T / s).T, b1 / s, w2 * s


def old_bias(w1, b1, w2):
    s = np.sqrt(np.abs(w1).max(1) / np.abs(w2).max(0))
    return w1 / s[:, None], b1, w2 * s[None]


def not_given_back(w1, b1, w2):
    s = np.sqrt(np.abs(w1).max(1) / np.abs(w2).max(0))
    return w1 / s[:, None], b1 / s, w2


def signed(w1, b1, w2):
    s = np.sqrt(w1.max(1) / w2.max(0))
    return w1 / s[:, None], b1 / s, w2 * s


def cut_off(codes, scale, out_scale):
    x = np.exp(scale * codes.astype(float) - scale * codes.max())
    return (x / x.sum() / out_scale).astype(np.uint8)


def real(codes, scale, out_scale):
    x = np.exp(scale * codes.astype(float))
    return x / np.sum(x)


def codes_as_they_are(codes, scale, out_scale):
    p = np.exp(codes - float(codes.max()))
    return np.clip(np.rint(p / p.sum() / out_scale), 0, 255)


WRONG = [
    ("your_model.top1_agreement", of_the_columns, "down the columns"),
    ("your_model.top1_agreement", same_scores, "largest scores"),
    ("your_model.top1_agreement", counts, "Divide by N"),
    ("your_model.level", upside_down, "upside down"),
    ("your_model.level", old_bias, "The bias belongs"),
    ("your_model.level", not_given_back, "give the factor back"),
    ("your_model.level", signed, "with its sign"),
    ("your_model.softmax", cut_off, "cut the fraction off"),
    ("your_model.softmax", real, "These are the real numbers"),
    ("your_model.softmax", codes_as_they_are, "scale is missing"),
]
