"""Chapter 02: how wrong a code is, and the end of a range that makes it least wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from helpers.affine import QParams, qrange
from helpers.error import split_error as course_split_error
from helpers.error import sqnr_db
from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "02_error"


def _sqnr_cases(rng: np.random.Generator) -> Iterable[Case]:
    for a, b in (([1.0], [0.9]), ([2.0, 0.0], [1.0, 0.0]), ([3.0, -1.0], [2.0, 2.0]), ([0.0, -4.0], [1.0, -4.0])):
        yield {"x": np.array(a), "y": np.array(b)}
    for _ in range(3):
        x = rng.standard_normal((20, 50))
        yield {"x": x, "y": x + 0.1 * rng.standard_normal(x.shape)}


SQNR = Build(
    name="error.sqnr",
    chapter=CHAPTER,
    title="Signal over noise, in dB",
    level=1,
    minutes=4,
    reference=sqnr_db,
    cases=_sqnr_cases,
    rtol=1e-6,
    hints=(
        "the signal is the sum of all x², the noise the sum of all squared differences.",
        "10 · np.log10(signal / noise), each a sum of squares.",
    ),
    mistakes=(
        Mistake("You turned it round: noise over signal. Signal comes first.", lambda x, y: -sqnr_db(x, y)),
        Mistake("Factor 20 belongs to amplitudes. These sums are squared already: 10.", lambda x, y: 2 * sqnr_db(x, y)),
        Mistake("That is the natural logarithm. Decibels take log10.", lambda x, y: sqnr_db(x, y) * np.log(10)),
        Mistake("The logarithm is missing.", lambda x, y: 10 * np.sum(x**2) / np.sum((x - y) ** 2)),
        Mistake(
            "You summed differences before you squared them, so plus and minus cancel. Square first.",
            lambda x, y: 10 * np.log10(np.sum(x) ** 2 / np.sum(x - y) ** 2),
        ),
        Mistake(
            "You took sizes where squares belong: sum x² and (x − y)², not |x| and |x − y|.",
            lambda x, y: 10 * np.log10(np.sum(np.abs(x)) / np.sum(np.abs(x - y))),
        ),
        Mistake(
            "Your signal is that of y. The reference x is the signal.",
            lambda x, y: 10 * np.log10(np.sum(y**2) / np.sum((x - y) ** 2)),
        ),
    ),
)


def split_error(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    """Mean squared (clipping, rounding) of codes qmin … qmax with Z = 0: the course's own answer."""
    dtype = next(d for d in ("uint8", "int8", "uint4", "int4", "uint16", "int16") if qrange(d) == (qmin, qmax))
    return course_split_error(x, QParams(scale, 0, dtype))


def _split_cases(rng: np.random.Generator) -> Iterable[Case]:
    for values, scale, dtype in (
        ([0.25], 1.0, "int4"),
        ([9.0], 1.0, "int4"),
        ([-10.0], 1.0, "int4"),
        ([7.25], 1.0, "int4"),
        ([0.25, 9.0], 1.0, "int4"),
        ([0.75, -0.5, 20.0], 2.0, "uint4"),
    ):
        yield _split_case(np.array(values), scale, dtype)
    for dtype, scale in (("int4", 0.25), ("uint4", 0.125), ("int8", 0.015625)):
        yield _split_case(rng.standard_normal(1000), scale, dtype)


def _split_case(x: np.ndarray, scale: float, dtype: str) -> Case:
    qmin, qmax = qrange(dtype)
    return {"x": x.astype(np.float32), "scale": scale, "qmin": qmin, "qmax": qmax}


def _gaps(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[np.ndarray, np.ndarray]:
    """(x − y, whether x was clipped)."""
    steps = np.asarray(x, np.float64) / scale
    gap = scale * (steps - np.clip(np.rint(steps), qmin, qmax))
    return gap, (steps < qmin - 0.5) | (steps > qmax + 0.5)


def _each_over_its_own(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    gap, clipped = _gaps(x, scale, qmin, qmax)
    clipping, rounding = (float(np.mean(gap[part] ** 2)) if part.any() else 0.0 for part in (clipped, ~clipped))
    return clipping, rounding


def _rounding_is_all(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    gap, clipped = _gaps(x, scale, qmin, qmax)
    return float(np.mean(gap**2 * clipped)), float(np.mean(gap**2))


def _clips_at_the_last_code(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    gap, _ = _gaps(x, scale, qmin, qmax)
    clipped = (x < scale * qmin) | (x > scale * qmax)
    return float(np.mean(gap**2 * clipped)), float(np.mean(gap**2 * ~clipped))


def _upper_end_only(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    gap, _ = _gaps(x, scale, qmin, qmax)
    clipped = x > scale * (qmax + 0.5)
    return float(np.mean(gap**2 * clipped)), float(np.mean(gap**2 * ~clipped))


def _not_squared(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    gap, clipped = _gaps(x, scale, qmin, qmax)
    return float(np.mean(np.abs(gap) * clipped)), float(np.mean(np.abs(gap) * ~clipped))


def _sums(x: np.ndarray, scale: float, qmin: int, qmax: int) -> tuple[float, float]:
    clipping, rounding = split_error(x, scale, qmin, qmax)
    return clipping * x.size, rounding * x.size


SPLIT = Build(
    name="error.split_error",
    chapter=CHAPTER,
    title="Clipping and rounding",
    level=2,
    minutes=8,
    reference=split_error,
    cases=_split_cases,
    rtol=1e-4,
    atol=1e-9,
    hints=(
        "send x there and back, square what is off, and ask of each value whether it lay beyond the range.",
        "clipped: below (qmin − ½)·scale or above (qmax + ½)·scale. Sum the squares of each part, divide by x.size.",
    ),
    mistakes=(
        Mistake("You divided each part by its own count. Divide both by the number of all values.", _each_over_its_own),
        Mistake("What was clipped is in your rounding too, so it counts twice.", _rounding_is_all),
        Mistake(
            "A value up to half a step beyond the last code still rounds to it. That is no clipping.",
            _clips_at_the_last_code,
        ),
        Mistake("You clip at the upper end only. Values below qmin are clipped as well.", _upper_end_only),
        Mistake("Square the errors before you take their mean.", _not_squared),
        Mistake("You gave sums. Divide by the number of all values.", _sums),
        Mistake("They are in the wrong order: clipping first.", lambda *case: split_error(*case)[::-1]),
    ),
)


def _there_and_back(w: np.ndarray, end: float) -> np.ndarray:
    scale = end / 7
    return scale * np.clip(np.rint(w / scale), -8, 7)


def _costs(w: np.ndarray, ends: Iterable[float]) -> list[float]:
    return [float(np.mean((w - _there_and_back(w, end)) ** 2)) for end in ends]


def best_end(w: np.ndarray, ends: np.ndarray) -> float:
    """Of `ends`, the one with the least mean squared error of w in codes −8 … 7, S = end/7: the course's own answer."""
    return float(ends[int(np.argmin(_costs(w, ends)))])


def _best_end_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield {"w": np.array([7.0, 1.0]), "ends": np.array([3.5, 7.0])}
    yield {"w": np.array([0.5, 0.5, 0.5, -0.5, 4.0]), "ends": np.array([1.0, 3.5, 7.0])}
    yield {"w": np.array([0.4, -0.4, 0.3, 1.0]), "ends": np.array([0.1, 0.4, 0.7, 1.0])}
    for count in (500, 500, 8000):
        w = rng.standard_t(3, count)
        yield {"w": w, "ends": np.abs(w).max() * np.linspace(0.1, 1, 19)}


def _at(pick: Any) -> Any:
    """A wrong answer: the end that `pick(w, ends)` points at."""
    return lambda w, ends: float(ends[int(pick(w, ends))])


def _in_8_bits(w: np.ndarray, ends: np.ndarray) -> int:
    found = [np.mean((w - e / 127 * np.clip(np.rint(w * 127 / e), -128, 127)) ** 2) for e in ends]
    return int(np.argmin(found))


def _never_clips(w: np.ndarray, ends: np.ndarray) -> int:
    return int(np.argmin([np.mean((w - e / 7 * np.rint(w * 7 / e)) ** 2) for e in ends]))


def _signed(w: np.ndarray, ends: np.ndarray) -> int:
    return int(np.argmin([abs(np.mean(w - _there_and_back(w, e))) for e in ends]))


def _draw_costs(case: Case, yours: Any, truth: float) -> Figure:
    """Error against the end, with the reader's end and the right one."""
    from helpers.plot.style import BLUE, GREEN, ORANGE, new_figure

    fig, ax = new_figure(height=3)
    ax.plot(case["ends"], _costs(case["w"], case["ends"]), "o-", color=BLUE, ms=4)
    ax.axvline(truth, color=GREEN, lw=2, label="right")
    if isinstance(yours, (int, float, np.number)) and case["ends"].min() <= yours <= case["ends"].max():
        ax.axvline(float(yours), color=ORANGE, lw=2, ls="--", label="yours")
    ax.set(xlabel="end of the range", ylabel="mean squared error", title="The least error is where the curve is lowest")
    ax.legend(frameon=False)
    return fig


BEST_END = Build(
    name="error.best_end",
    chapter=CHAPTER,
    title="The end with the least error",
    level=2,
    minutes=8,
    reference=best_end,
    cases=_best_end_cases,
    rtol=1e-6,
    draw=_draw_costs,
    hints=(
        "try every end: S = end/7, send w there and back, take the mean squared error, and keep the end of the least.",
        "for each end: y = S · np.clip(np.rint(w / S), −8, 7). A list of errors and np.argmin give the place.",
    ),
    mistakes=(
        Mistake(
            "You let codes run beyond −8 … 7, so nothing is ever clipped. Clamp before you compare.", _at(_never_clips)
        ),
        Mistake("Your errors cancel: square them before you take the mean.", _at(_signed)),
        Mistake("That is the best end for 8 bits. Here codes run from −8 to 7.", _at(_in_8_bits)),
        Mistake(
            "You took the largest weight itself: nothing is clipped, but steps are wide. Search.",
            _at(lambda w, ends: np.argmax(ends)),
        ),
        Mistake(
            "You gave the place in the list. Give the end that stands there.",
            lambda w, ends: int(np.argmin(_costs(w, ends))),
        ),
        Mistake("You gave the error. Give the end that it belongs to.", lambda w, ends: min(_costs(w, ends))),
        Mistake("You gave the scale. The end is 7 steps away from 0.", lambda w, ends: best_end(w, ends) / 7),
    ),
)

BUILDS = [SQNR, SPLIT, BEST_END]
