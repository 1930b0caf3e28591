"""Wrong answers to chapter 10's bias and rounding, as readers write them."""

import numpy as np


def subtracts(bias, weight, quantized, mean):
    return bias + np.einsum("ck,k->c", quantized - weight, mean)


def forgets_the_bias(bias, weight, quantized, mean):
    return np.array([sum((w - q) * mean) for w, q in zip(weight, quantized, strict=True)])


def without_inputs(bias, weight, quantized, mean):
    return bias + weight.sum(1) - quantized.sum(1)


def nearest(weight, scale, share):
    return np.clip(np.rint(weight / scale[:, None]), -8, 7).astype(int)


def only_the_neighbour(weight, scale, share):
    now, codes = weight.copy(), np.zeros(weight.shape, int)
    for i in range(weight.shape[1]):
        codes[:, i] = np.clip(np.rint(now[:, i] / scale), -8, 7)
        if i + 1 < weight.shape[1]:
            now[:, i + 1] += (now[:, i] - codes[:, i] * scale) * share[i, i + 1]
    return codes


def loss_in_codes(weight, scale, share):
    now, codes = weight.copy(), np.zeros(weight.shape)
    for i in range(len(share)):
        codes[:, i] = np.clip(np.rint(now[:, i] / scale), -8, 7)
        now[:, i + 1 :] += (now[:, i] - codes[:, i])[:, None] * share[i, i + 1 :]
    return codes


def of_the_given_weights(weight, scale, share):
    now, codes = weight.copy(), np.zeros(weight.shape)
    for i in range(len(share)):
        codes[:, i] = np.clip(np.rint(now[:, i] / scale), -8, 7)
        now += np.outer(weight[:, i] - codes[:, i] * scale, share[i])
    return codes


WRONG = [
    ("repair.correct_bias", subtracts, "wrong way"),
    ("repair.correct_bias", forgets_the_bias, "without the old bias"),
    ("repair.correct_bias", without_inputs, "mean input is missing"),
    ("repair.round_rows", nearest, "nothing was paid back"),
    ("repair.round_rows", only_the_neighbour, "next column"),
    ("repair.round_rows", loss_in_codes, "loss in codes"),
    ("repair.round_rows", of_the_given_weights, "weights as they are now"),
]
