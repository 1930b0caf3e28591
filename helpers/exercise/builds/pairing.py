"""Chapter 09: which box of one detector is which of the other's, written by the reader."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "09_yolo"
Pairs = list[tuple[int, int]]


def match(overlap: np.ndarray, least: float) -> Pairs:
    """Pairs (row, column), one to one, largest overlap first, while it is `least` or more: the course's own answer.

    `overlap` is the IoU of each box of one detector (rows) with each of the other's (columns).

    >>> match(np.array([[0.9, 0.8], [0.7, 0.0]]), 0.5)
    [(0, 0)]
    """
    left, pairs = np.array(overlap, float), []
    while left.size and left.max() >= least:
        row, column = np.unravel_index(left.argmax(), left.shape)
        pairs.append((int(row), int(column)))
        left[row], left[:, column] = -1, -1
    return pairs


def _cases(rng: np.random.Generator) -> Iterable[Case]:
    for overlap in (
        [[0.9]],
        [[0.3]],
        [[0.5]],
        [[0.9, 0.8]],
        [[0.6], [0.8]],
        [[0.7, 0.0], [0.9, 0.6]],
        [[0.55, 0.0], [0.0, 0.95]],
    ):
        yield {"overlap": np.array(overlap), "least": 0.5}
    for rows, columns in ((3, 4), (6, 5)):
        yield {"overlap": rng.permutation(rows * columns).reshape(rows, columns) / (rows * columns), "least": 0.5}


def _one_way(overlap: np.ndarray, least: float) -> Pairs:
    return [(k, int(row.argmax())) for k, row in enumerate(overlap) if row.max() >= least]


def _everything(overlap: np.ndarray, least: float) -> Pairs:
    return [(int(i), int(j)) for i, j in np.argwhere(overlap >= least)]


def _row_by_row(overlap: np.ndarray, least: float) -> Pairs:
    left, pairs = overlap.copy(), []
    for k, row in enumerate(left):
        if row.max() >= least:
            pairs.append((k, int(row.argmax())))
            left[:, row.argmax()] = -1
    return pairs


def _takes_any(overlap: np.ndarray, least: float) -> Pairs:
    return match(overlap, -0.5)


def _more_than(overlap: np.ndarray, least: float) -> Pairs:
    return match(overlap, least + 1e-9)


def _by_row(overlap: np.ndarray, least: float) -> Pairs:
    return sorted(match(overlap, least))


MATCH = Build(
    name="pairing.match",
    chapter=CHAPTER,
    title="Which box is which",
    level=2,
    minutes=8,
    reference=match,
    cases=_cases,
    hints=(
        "take the largest overlap of the whole table, note its row and column, and strike both out; then again.",
        "on a copy, in a loop: np.unravel_index(table.argmax(), table.shape), then set that row and column to −1.",
    ),
    mistakes=(
        Mistake("One box of the other detector became the partner of two. Strike out its column too.", _one_way),
        Mistake("You kept every pair above the limit. A box has one partner at most.", _everything),
        Mistake("You went row by row, so an early row took the partner of a better one. Largest first.", _row_by_row),
        Mistake("These are the right pairs in another order: give the largest overlap first.", _by_row),
        Mistake("You paired boxes that hardly touch. Stop below `least`.", _takes_any),
        Mistake("An overlap of exactly `least` counts: ≥, not >.", _more_than),
    ),
)

BUILDS = [MATCH]
