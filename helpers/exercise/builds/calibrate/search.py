"""Ranges found by search: the least squared error, and the least KL divergence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from helpers.affine import choose_qparams, fake_quantize
from helpers.exercise.build import Build, Case, Mistake
from helpers.exercise.builds.calibrate.counts import CHAPTER, Range


def mse(centres: np.ndarray, counts: np.ndarray, ranges: Sequence[Range]) -> Range:
    """Of some ranges the one with the least Σ counts·(Q(centre) − centre)², Q with uint8 codes."""
    return min(ranges, key=lambda ends: float(counts @ _error(centres, ends) ** 2))


def _error(centres: np.ndarray, ends: Range) -> np.ndarray:
    return fake_quantize(centres, choose_qparams(*ends)).astype(float) - centres


def _mse_cases(rng: np.random.Generator) -> Iterable[Case]:
    wide, narrow = (0.0, 1000.0), (0.0, 100.0)
    yield {"centres": np.array([1.0, 101.0]), "counts": np.array([9, 1]), "ranges": [wide, narrow]}
    yield {"centres": np.array([1.0, 3.0]), "counts": np.array([1, 1]), "ranges": [wide, narrow]}
    yield {"centres": np.array([1.0, 120.0]), "counts": np.array([40, 1]), "ranges": [wide, narrow]}
    yield {"centres": np.array([1.0, 160.0]), "counts": np.array([1, 1]), "ranges": [narrow, (0.0, 160.0)]}
    yield {"centres": np.array([1.0, 104.0]), "counts": np.array([40, 1]), "ranges": [wide, narrow]}
    yield {"centres": np.array([-6.0, 3.0]), "counts": np.array([5, 5]), "ranges": [(-1.0, 3.0), (-6.0, 3.0)]}
    for heavy in (3, 5):
        counts, edges = np.histogram(rng.standard_t(heavy, 20_000), 400)
        ranges = [(float(edges[0] * t), float(edges[-1] * t)) for t in np.linspace(0.05, 1, 39)]
        yield {"centres": (edges[1:] + edges[:-1]) / 2, "counts": counts, "ranges": ranges}


def _best(cost: Any) -> Any:
    """A wrong `mse` with another cost: cost(centres, counts, ends)."""
    return lambda centres, counts, ranges: min(ranges, key=lambda ends: float(cost(centres, counts, ends)))


def _rounding_only(centres: np.ndarray, counts: np.ndarray, ends: Range) -> float:
    scale = (ends[1] - ends[0]) / 255
    return counts @ (scale * np.rint(centres / scale) - centres) ** 2


def _clipping_only(centres: np.ndarray, counts: np.ndarray, ends: Range) -> float:
    return counts @ (np.clip(centres, *ends) - centres) ** 2


MSE = Build(
    name="calibrate.mse",
    chapter=CHAPTER,
    title="Least squared error",
    level=2,
    minutes=12,
    reference=mse,
    cases=_mse_cases,
    rtol=1e-9,
    hints=(
        "send every centre to its code and back, as in chapter 01, square what is lost, and weigh it with its count.",
        "S = (high − low)/255, Z = round(−low/S), clip codes to 0 … 255; the cost is counts @ error²; min(…, key=…).",
    ),
    mistakes=(
        Mistake("You forgot the counts: a bin with many values weighs more.", _best(
            lambda x, n, ends: (_error(x, ends) ** 2).sum())),
        Mistake("You added up |error|. Square it: far misses hurt more.", _best(
            lambda x, n, ends: n @ np.abs(_error(x, ends)))),
        Mistake("Nothing clips your codes, so the narrowest range wins.", _best(_rounding_only)),
        Mistake("You measured clipping alone. A wide range rounds coarsely: count both.", _best(_clipping_only)),
        Mistake("You added up errors with their signs, and they cancel. Square each one.", _best(
            lambda x, n, ends: abs(n @ _error(x, ends)))),
        Mistake("You took the worst range: least, not most.", _best(lambda x, n, ends: -(n @ _error(x, ends) ** 2))),
    ),
)  # fmt: skip


def entropy(counts: np.ndarray, levels: int) -> int:
    """How many bins of |x| a range should keep, from `levels` on, for the least KL(P‖Q)."""
    return min(range(levels, len(counts) + 1), key=lambda keep: _divergence(counts, keep, levels))


def _divergence(counts: np.ndarray, keep: int, levels: int, way: str = "") -> float:
    """KL(P‖Q) of the first `keep` bins; `way` names what a wrong answer does."""
    p = counts[:keep].astype(float)
    p[-1] += 0 if way == "no tail" else counts[keep:].sum()
    inside, level = counts[:keep], np.arange(keep) * levels // keep
    filled = np.ones(keep) if way == "empty bins too" else inside > 0
    shared = np.bincount(level, inside) / np.maximum(np.bincount(level, filled), 1)
    q = filled * shared[level]
    if way != "sums":
        p, q = p / p.sum(), q / max(q.sum(), 1)
    if way == "turned":
        p, q = q, p
    if (q[p > 0] == 0).any():
        return np.inf
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def _search(way: str) -> Any:
    """A wrong `entropy` that goes its own way in one step."""
    return lambda counts, levels: min(
        range(levels, len(counts) + 1), key=lambda keep: _divergence(counts, keep, levels, way)
    )


def _entropy_cases(rng: np.random.Generator) -> Iterable[Case]:
    for counts in ([9, 6, 3, 3, 0, 3, 1, 1], [6, 0, 1, 1, 1, 1], [3, 0, 1, 1, 1, 0], [8, 2, 2, 2, 1, 0]):
        yield {"counts": np.array(counts), "levels": 2}
    for heavy in (2, 3, 5, 9):
        x = np.abs(rng.standard_t(heavy, 5000))
        yield {"counts": np.histogram(x[x < 20], 256)[0], "levels": 16}


ENTROPY = Build(
    name="calibrate.entropy",
    chapter=CHAPTER,
    title="KL search",
    level=3,
    minutes=25,
    reference=entropy,
    cases=_entropy_cases,
    hints=(
        "for each keep make P and Q, both with the sum 1, and remember their divergence; the least one wins.",
        "P: a float copy of counts[:keep], its last bin plus counts[keep:].sum(). Q: with level = np.arange(keep) * "
        "levels // keep, np.bincount(level, …) adds up a level's counts, or its filled bins; [level] spreads it. "
        "Where P > 0 and Q = 0 the divergence is infinite.",
    ),
    mistakes=(
        Mistake(
            "With the fewest bins your P equals your Q, so that always wins. "
            "What lies beyond goes to P's last bin, and not to Q.",
            _search("no tail"),
        ),
        Mistake("You spread a level over its empty bins too. Only filled ones share.", _search("empty bins too")),
        Mistake("P and Q are counts of different sums. Divide each by its own.", _search("sums")),
        Mistake("You turned P and Q round: KL(P‖Q) is Σ p·ln(p/q).", _search("turned")),
    ),
)  # fmt: skip
