"""Wrong answers to chapter 08, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np

from helpers import error


def never_put_back(run, weights, rounded):
    clean = run(weights)
    trial, found = weights.copy(), {}
    for name in trial:
        trial[name] = rounded[name]
        found[name] = error.sqnr_db(clean, run(trial))
    return found


def errors_of_weights(run, weights, rounded):
    return {n: 10 * np.log10(np.sum(w**2) / np.sum((w - rounded[n]) ** 2)) for n, w in weights.items()}


def leave_one_out(run, weights, rounded):
    clean, found = run(weights), {}
    for name in weights:
        trial = dict(rounded)
        trial[name] = weights[name]
        found[name] = error.sqnr_db(clean, run(trial))
    return found


def plain_sum(levels):
    return sum(levels)


def twenty(levels):
    total = 0.0
    for level in levels:
        total += 10 ** (-level / 20)
    return -20 * np.log10(total)


def worst(levels):
    return min(levels)


def noisiest(noise, size, budget):
    chosen = []
    for name, _ in sorted(noise.items(), key=lambda item: item[1], reverse=True):
        if size[name] <= budget:
            chosen.append(name)
            budget = budget - size[name]
    return chosen


def breaks_off(noise, size, budget):
    chosen = []
    for name in sorted(noise, key=lambda n: noise[n] / size[n], reverse=True):
        budget -= size[name]
        if budget < 0:
            return chosen
        chosen.append(name)
    return chosen


def unlimited(noise, size, budget):
    return [n for n in sorted(noise, key=lambda n: noise[n] / size[n], reverse=True) if size[n] <= budget]


WRONG = [
    ("attribution.one_at_a_time", never_put_back, "stay rounded"),
    ("attribution.one_at_a_time", errors_of_weights, "compared the weights"),
    ("attribution.one_at_a_time", leave_one_out, "all layers but one"),
    ("attribution.noise_sum", plain_sum, "added decibels"),
    ("attribution.noise_sum", twenty, "added amplitudes"),
    ("attribution.noise_sum", worst, "worst level alone"),
    ("attribution.within_budget", noisiest, "noisiest first"),
    ("attribution.within_budget", breaks_off, "stopped at the first"),
    ("attribution.within_budget", unlimited, "never took anything off"),
]
