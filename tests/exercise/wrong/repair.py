"""Wrong answers to chapter 10's bias and rounding, as readers write them."""

import numpy as np


def subtracts(bias, weight, quantized, mean):
    return bias + np.einsum("ck,k->c", quantized - weight, mean)


def forgets_the_bias(bias, weight, quantized, mean):
    return np.array([sum((w - q) * mean) for w, q in zip(weight, quantized, strict=True)])


def without_inputs(bias, weight, quantized, mean):
    return bias + weight.sum(1) - quantized.sum(1)


def nearest(row, scale, share):
    return np.clip(np.rint(row / scale), -8, 7).astype(int)


def only_the_neighbour(row, scale, share):
    now, codes = list(row), []
    for i, value in enumerate(now):
        codes.append(int(np.clip(np.rint(value / scale), -8, 7)))
        if i + 1 < len(now):
            now[i + 1] += (value - codes[-1] * scale) * share[i, i + 1]
    return codes


def loss_in_codes(row, scale, share):
    now, codes = row.copy(), np.zeros(len(row))
    for i in range(len(row)):
        codes[i] = np.clip(np.rint(now[i] / scale), -8, 7)
        now[i + 1 :] += (now[i] - codes[i]) * share[i, i + 1 :]
    return codes


def of_the_given_weight(row, scale, share):
    now, codes = row.copy(), np.zeros(len(row))
    for i in range(len(row)):
        codes[i] = np.clip(np.rint(now[i] / scale), -8, 7)
        now += (row[i] - codes[i] * scale) * share[i]
    return codes


WRONG = [
    ("repair.correct_bias", subtracts, "wrong way"),
    ("repair.correct_bias", forgets_the_bias, "without the old bias"),
    ("repair.correct_bias", without_inputs, "mean input is missing"),
    ("repair.round_row", nearest, "nothing was paid back"),
    ("repair.round_row", only_the_neighbour, "next neighbour"),
    ("repair.round_row", loss_in_codes, "loss in codes"),
    ("repair.round_row", of_the_given_weight, "weight as it is now"),
]
