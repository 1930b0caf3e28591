"""Wrong answers to chapter 09's pairing: (build, function, words of the sentence that it must get)."""

import numpy as np


def partner_of_each(overlap, least):
    pairs = []
    for i in range(len(overlap)):
        j = int(np.argmax(overlap[i]))
        if overlap[i, j] >= least:
            pairs.append((i, j))
    return pairs


def first_come(overlap, least):
    taken, pairs = set(), []
    for i, row in enumerate(overlap):
        free = [j for j in range(len(row)) if j not in taken]
        if free and max(row[j] for j in free) >= least:
            best = max(free, key=lambda j: row[j])
            pairs.append((i, best))
            taken.add(best)
    return pairs


def strictly(overlap, least):
    table, pairs = overlap.copy(), []
    while table.max() > least:
        i, j = (int(k) for k in np.unravel_index(np.argmax(table), table.shape))
        pairs.append((i, j))
        table[i, :] = 0
        table[:, j] = 0
    return pairs


WRONG = [
    ("pairing.match", partner_of_each, "partner of two"),
    ("pairing.match", first_come, "row by row"),
    ("pairing.match", strictly, "≥, not >"),
]
