"""A histogram that grows, and a percentile of its counts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "04_calibration"
Range = tuple[float, float]


def update(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Counts of bins [i·width, (i + 1)·width) and of values x ≥ 0; bins merge in pairs until the last value fits."""
    counts = np.array(counts)
    while x.max() >= width * len(counts):
        counts, width = _merged(counts), 2 * width
    return counts + np.bincount((x // width).astype(int), minlength=len(counts)), width


def _merged(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([counts[::2] + counts[1::2], np.zeros(len(counts) // 2, int)])


def _update_cases(rng: np.random.Generator) -> Iterable[Case]:
    for start, width, values in (
        ([0, 0, 0, 0], 1.0, [0.5, 2.7]),
        ([1, 0, 2, 0], 1.0, [0.5, 0.5, 3.9]),
        ([1, 2, 3, 4], 1.0, [4.0]),
        ([1, 2, 3, 4], 0.5, [9.0, 0.1]),
    ):
        yield {"counts": np.array(start), "width": width, "x": np.array(values)}
    for top in (1.0, 30.0, 500.0):
        x = rng.exponential(top / 8, 200)
        yield {"counts": rng.integers(0, 9, 64), "width": 0.125, "x": x}


def _counts_once(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    grown, width = update(counts, width, x)
    old = grown - np.bincount((x // width).astype(int), minlength=len(grown))
    old[(x // width).astype(int)] += 1
    return old, width


def _last_bin_takes_all(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    index = np.minimum((x // width).astype(int), len(counts) - 1)
    return counts + np.bincount(index, minlength=len(counts)), width


def _forgets_far(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    near = x[x < width * len(counts)]
    return counts + np.bincount((near // width).astype(int), minlength=len(counts)), width


def _rounds_index(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    while x.max() >= width * len(counts):
        counts, width = _merged(counts), 2 * width
    index = np.minimum(np.rint(x / width).astype(int), len(counts) - 1)
    return counts + np.bincount(index, minlength=len(counts)), width


def _folds_halves(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    half = len(counts) // 2
    while x.max() >= width * len(counts):
        counts, width = np.append(counts[:half] + counts[half:], np.zeros(half, int)), 2 * width
    return counts + np.bincount((x // width).astype(int), minlength=len(counts)), width


def _keeps_old_bins(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    while x.max() >= width * len(counts):
        width = 2 * width
    return counts + np.bincount((x // width).astype(int), minlength=len(counts)), width


def _doubles_once(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    if x.max() >= width * len(counts):
        counts, width = _merged(counts), 2 * width
    found = np.bincount((x // width).astype(int), minlength=len(counts))
    return found + np.append(counts, np.zeros(len(found) - len(counts), int)), width


def _new_only(counts: np.ndarray, width: float, x: np.ndarray) -> tuple[np.ndarray, float]:
    return update(np.zeros_like(counts), width, x)


UPDATE = Build(
    name="calibrate.update",
    chapter=CHAPTER,
    title="A histogram that grows",
    level=2,
    minutes=10,
    reference=update,
    cases=_update_cases,
    hints=(
        "first make room: double the width and merge bins in pairs for as long as the largest value does not fit.",
        "counts[::2] + counts[1::2] merges pairs; as many zeros follow. Then np.bincount of ⌊x / width⌋, minlength.",
    ),
    mistakes=(
        Mistake("A bin that got several values counted one: counts[index] += 1 adds once. Count them.", _counts_once),
        Mistake("Your last bin took what lies beyond it. Widen the bins instead.", _last_bin_takes_all),
        Mistake("You left out what lies beyond the last bin. Widen the bins instead.", _forgets_far),
        Mistake("You rounded to the nearest bin. Bin i begins at i·width: round down.", _rounds_index),
        Mistake("You merged bins that are not neighbours. Bin 0 goes with 1, bin 2 with 3.", _folds_halves),
        Mistake("You widened the bins and left the old counts where they were. Merge them too.", _keeps_old_bins),
        Mistake("You widened once. Go on until the largest value fits.", _doubles_once),
        Mistake("The old counts are lost. Add the new ones to them.", _new_only),
    ),
)


def percentile(counts: np.ndarray, edges: np.ndarray, p: float) -> Range:
    """Quantiles (100 − p)/2 % and 100 − (100 − p)/2 % of a histogram, interpolated inside their bins."""
    below = np.append(0, np.cumsum(counts))
    tail = (100 - p) / 200 * below[-1]
    low, high = np.interp([tail, below[-1] - tail], below, edges)
    return float(low), float(high)


def _percentile_cases(rng: np.random.Generator) -> Iterable[Case]:
    for bins, ends, p in (
        ([10], [0.0, 1.0], 80.0),
        ([1, 8, 1], [0.0, 1.0, 2.0, 3.0], 90.0),
        ([2, 6, 2], [-1.0, 0.0, 1.0, 5.0], 80.0),
        ([4, 4, 2], [0.0, 1.0, 2.0, 3.0], 100.0),
        ([6, 3, 0, 1], [0.0, 1.0, 2.0, 999.0, 1000.0], 70.0),
    ):
        yield {"counts": np.array(bins), "edges": np.array(ends), "p": p}
    for p in (99.0, 99.9):
        counts, edges = np.histogram(rng.standard_normal(3001), 64)
        yield {"counts": counts, "edges": edges, "p": p}


def _to_bin_edge(counts: np.ndarray, edges: np.ndarray, p: float) -> Range:
    below = np.append(0, np.cumsum(counts))
    tail = (100 - p) / 200 * below[-1]
    first, last = np.searchsorted(below, tail, "right") - 1, np.searchsorted(below, below[-1] - tail)
    return edges[first], edges[last]


def _top_only(counts: np.ndarray, edges: np.ndarray, p: float) -> Range:
    return edges[0], percentile(counts, edges, p)[1]


PERCENTILE = Build(
    name="calibrate.percentile",
    chapter=CHAPTER,
    title="Percentile",
    level=2,
    minutes=10,
    reference=percentile,
    cases=_percentile_cases,
    rtol=1e-6,
    hints=(
        "how many values lie below each edge? A tail may lose (100 − p)/2 percent of all.",
        "np.cumsum of counts, with a 0 before it, is what lies below each edge; np.interp turns a number of values "
        "back into a place between edges.",
    ),
    mistakes=(
        Mistake(
            "You cut 100 − p percent off each end. Both tails share it: half each.",
            lambda c, e, p: percentile(c, e, 2 * p - 100),
        ),
        Mistake("You cut the upper end only. The lower tail loses its half too.", _top_only),
        Mistake("You stopped at an edge. Values lie evenly in their bin: interpolate.", _to_bin_edge),
        Mistake(
            "You took percentiles of the edges. A bin weighs as much as its count.",
            lambda c, e, p: np.percentile(e, [(100 - p) / 2, 100 - (100 - p) / 2]),
        ),
        Mistake("That is minmax: nothing is cut.", lambda c, e, p: (e[0], e[-1])),
    ),
)
