"""Wrong answers to chapter 04, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np


def fancy_index(counts, width, x):
    counts = counts.copy()
    while max(x) >= width * len(counts):
        pairs = counts.reshape(-1, 2).sum(1)
        counts, width = np.concatenate([pairs, 0 * pairs]), width * 2
    counts[np.floor(x / width).astype(int)] += 1
    return counts, width


def clipped_to_last(counts, width, x):
    counts = counts.copy()
    for value in x:
        counts[min(int(value / width), len(counts) - 1)] += 1
    return counts, width


def if_not_while(counts, width, x):
    if max(x) >= width * len(counts):
        pairs = counts.reshape(-1, 2).sum(1)
        counts, width = np.concatenate([pairs, 0 * pairs]), width * 2
    new = np.bincount((x / width).astype(int), minlength=len(counts))
    new[: len(counts)] += counts
    return new, width


def both_tails_whole(counts, edges, p):
    share = np.cumsum(counts) / np.sum(counts)
    return tuple(np.interp([1 - p / 100, p / 100], np.append(0, share), edges))


def upper_tail(counts, edges, p):
    share = np.append(0, np.cumsum(counts)) / np.sum(counts)
    return edges[0], np.interp(1 - (1 - p / 100) / 2, share, edges)


def of_edges(counts, edges, p):
    return np.quantile(edges, (1 - p / 100) / 2), np.quantile(edges, 1 - (1 - p / 100) / 2)


def squared_error(centres, low, high):
    scale = (high - low) / 255
    zero = round(-low / scale)
    q = np.clip(np.rint(centres / scale) + zero, 0, 255)
    return (scale * (q - zero) - centres) ** 2


def every_bin_alike(centres, counts, ranges):
    costs = [squared_error(centres, *ends).mean() for ends in ranges]
    return ranges[int(np.argmin(costs))]


def mean_absolute(centres, counts, ranges):
    costs = [np.average(np.sqrt(squared_error(centres, *ends)), weights=counts) for ends in ranges]
    return ranges[int(np.argmin(costs))]


def no_clip(centres, counts, ranges):
    best = None
    for low, high in ranges:
        scale = (high - low) / 255
        cost = (counts * (scale * np.round(centres / scale) - centres) ** 2).sum()
        if best is None or cost < best[0]:
            best = cost, (low, high)
    return best[1]


def kl(counts, levels, p_of, q_of):
    best = None
    for keep in range(levels, len(counts) + 1):
        p, q = p_of(counts, keep), q_of(counts, keep)
        spread = np.zeros(keep)
        for group in (np.flatnonzero(np.arange(keep) * levels // keep == g) for g in range(levels)):
            filled = group[q[group] > 0]
            if len(filled):
                spread[filled] = q[group].sum() / len(filled)
        p, q = p / p.sum(), spread / spread.sum()
        cost = sum(a * np.log(a / b) if b else np.inf for a, b in zip(p, q, strict=True) if a)
        if best is None or cost < best[0]:
            best = cost, keep
    return best[1]


def with_tail(counts, keep):
    p = counts[:keep].astype(float)
    p[-1] += counts[keep:].sum()
    return p


def without_tail(counts, keep):
    return counts[:keep].astype(float)


def free_cut(counts, levels):
    return kl(counts, levels, without_tail, without_tail)


def tail_on_both_sides(counts, levels):
    return kl(counts, levels, with_tail, with_tail)


WRONG = [
    ("calibrate.update", fancy_index, "adds once"),
    ("calibrate.update", clipped_to_last, "took what lies beyond"),
    ("calibrate.update", if_not_while, "widened once"),
    ("calibrate.percentile", both_tails_whole, "half each"),
    ("calibrate.percentile", upper_tail, "upper end only"),
    ("calibrate.percentile", of_edges, "percentiles of the edges"),
    ("calibrate.mse", every_bin_alike, "forgot the counts"),
    ("calibrate.mse", mean_absolute, "Square it"),
    ("calibrate.mse", no_clip, "Nothing clips"),
    ("calibrate.entropy", free_cut, "always wins"),
    ("calibrate.entropy", tail_on_both_sides, "not to Q"),
]
