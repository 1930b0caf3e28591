"""Chapter 06: from codes to codes by a table, written by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.figure import Figure

from helpers.affine import QParams
from helpers.exercise.build import Build, Case, Mistake
from helpers.graph.activations import sigmoid
from helpers.integer.htp_rounding import fixed_point, function_lut, rescale_lut
from helpers.plot.style import BLUE, new_figure

CHAPTER = "06_integer"


def silu(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    """Codes of x·σ(x) for all 256 codes of x, rounded once: the course's own answer."""
    source, target = QParams(scale, zero_point, "uint8"), QParams(out_scale, out_zero_point, "uint8")
    return function_lut(lambda x: x * sigmoid(x), source, target)


def _silu_cases(rng: np.random.Generator) -> Iterable[Case]:
    for scale, zero_point, out_scale, out_zero_point in (
        (0.07, 128, 0.037, 8),
        (0.05, 60, 0.04, 7),
        (0.11, 100, 0.03, 9),
        (0.02, 10, 0.021, 0),
    ):
        names = ("scale", "zero_point", "out_scale", "out_zero_point")
        yield dict(zip(names, (scale, zero_point, out_scale, out_zero_point), strict=True))


def _silu_of(rounded: Callable[[np.ndarray], np.ndarray] = np.rint, steps: float = 0.0) -> Callable[..., np.ndarray]:
    """The table with another last rounding, and with σ(x) rounded to `steps` codes first (0: not rounded)."""

    def answer(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
        x = scale * (np.arange(256) - zero_point)
        gate = np.rint(sigmoid(x) * steps) / steps if steps else sigmoid(x)
        return np.clip(rounded(x * gate / out_scale) + out_zero_point, 0, 255)

    return answer


def _sigmoid_table(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    x = scale * (np.arange(256) - zero_point)
    return np.clip(np.rint(sigmoid(x) / out_scale) + out_zero_point, 0, 255)


def _real_values(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    x = scale * (np.arange(256) - zero_point)
    return x * sigmoid(x)


def _wraps_codes(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    x = scale * (np.arange(256) - zero_point)
    return (np.rint(x * sigmoid(x) / out_scale) + out_zero_point) % 256


def _draw_table(case: Case, yours: np.ndarray, truth: np.ndarray) -> Figure:
    """Where a table of 256 is wrong, code by code; what is no such table is told its form by the right one."""
    fig, ax = new_figure(height=2.6)
    ax.set(xlabel="code of x", ylabel="code of SiLU(x)", title="The right table: 256 codes")
    if np.shape(yours) != truth.shape or np.asarray(yours).dtype.kind not in "biuf":
        ax.plot(truth, color=BLUE)
        return fig
    off = np.asarray(yours, float) - truth
    first = int(np.flatnonzero(off)[0])
    ax.bar(range(256), off, 1.0, color=BLUE)
    ax.axhline(0, color="black", lw=0.8)
    ax.set_ylabel("yours − right, in codes")
    ax.set_title(f"First difference at code {first} of x: yours {float(yours[first]):.4g}, right {truth[first]}")
    return fig


SILU = Build(
    name="lookup.silu",
    chapter=CHAPTER,
    title="SiLU as a table of 256 codes",
    level=2,
    minutes=8,
    reference=silu,
    cases=_silu_cases,
    hints=(
        "every code 0 … 255 of x stands for a real number: compute SiLU of all 256, then quantize once.",
        "x = scale·(np.arange(256) − zero_point), y = x/(1 + np.exp(−x)), then y to codes of the other scale.",
    ),
    mistakes=(
        Mistake("You rounded σ(x) to 8 bits on the way. Round once, at the end.", _silu_of(steps=255.0)),
        Mistake("That is the table of σ(x). SiLU is x·σ(x).", _sigmoid_table),
        Mistake(
            "These are real numbers. A table holds codes: divide by the output's scale, round, shift.", _real_values
        ),
        Mistake("A code beyond 0 … 255 wrapped around. Clamp it.", _wraps_codes),
        Mistake("You cut off the fraction. Round to the nearest.", _silu_of(np.trunc)),
        Mistake("You always round down. Round to the nearest.", _silu_of(np.floor)),
        Mistake(
            "The zero point of the output is missing: its code for 0 is not 0.",
            lambda s, z, t, y: _silu_of()(s, z, t, 0),
        ),
        Mistake(
            "The zero point of the input is missing: its code 0 is not 0.", lambda s, z, t, y: _silu_of()(s, 0, t, y)
        ),
    ),
    draw=_draw_table,
)


def recode(q: np.ndarray, zero_point: int, m: int, e: int, new_zero_point: int) -> np.ndarray:
    """Codes of one scale as codes of another, S/S' = m·2^(e − 15): the course's own answer, `rescale_lut`."""
    source = QParams(m * 2.0 ** (e - 15), zero_point, "uint8")
    return rescale_lut(source, QParams(1.0, new_zero_point, "uint8"))[q]


def _recode_cases(rng: np.random.Generator) -> Iterable[Case]:
    for codes, zero_point, ratio, new_zero_point in (
        ([4], 0, 0.5, 0),
        ([7], 5, 1.0, 9),
        ([5, 3], 0, 0.5, 0),
        ([3], 0, 0.8325, 0),
        ([200], 0, 1.5, 0),
        ([0], 90, 1.0, 10),
    ):
        yield _codes(np.array(codes), zero_point, ratio, new_zero_point)
    for ratio in (0.91, 0.499, 0.2871, 0.2871, 0.1234):
        yield _codes(np.arange(256), int(rng.integers(0, 40)), ratio, int(rng.integers(0, 40)))


def _codes(q: np.ndarray, zero_point: int, ratio: float, new_zero_point: int) -> Case:
    m, e = (int(v) for v in fixed_point(ratio, 15))
    return {"q": q.astype(np.uint8), "zero_point": zero_point, "m": m, "e": e, "new_zero_point": new_zero_point}


def _recoded(rounded: Callable[[np.ndarray], np.ndarray], low: int = 0) -> Callable[..., np.ndarray]:
    """One rounding instead of the HTP's two."""

    def answer(q: np.ndarray, zero_point: int, m: int, e: int, new_zero_point: int) -> np.ndarray:
        steps = (q.astype(np.int64) - zero_point) * m * 2.0 ** (e - 15)
        return np.clip(rounded(steps) + new_zero_point, low, 255)

    return answer


def _half_up(steps: np.ndarray) -> np.ndarray:
    return np.floor(steps + 0.5)


def _recode_wraps(q: np.ndarray, zero_point: int, m: int, e: int, new_zero_point: int) -> np.ndarray:
    return _half_up((q.astype(np.int64) - zero_point) * m * 2.0 ** (e - 15)).astype(np.int64) + new_zero_point & 255


def _recode_unsigned(q: np.ndarray, zero_point: int, m: int, e: int, new_zero_point: int) -> np.ndarray:
    return recode(q - np.uint8(zero_point), 0, m, e, new_zero_point)


def _always_twice(q: np.ndarray, zero_point: int, m: int, e: int, new_zero_point: int) -> np.ndarray:
    steps = np.floor((q.astype(np.int64) - zero_point) * m * 2.0 ** (e - 8) + 0.5) / 128
    return np.clip(_half_up(steps) + new_zero_point, 0, 255)


RECODE = Build(
    name="lookup.recode",
    chapter=CHAPTER,
    title="Codes of one scale as codes of another",
    level=3,
    minutes=10,
    reference=recode,
    cases=_recode_cases,
    elementwise="q",
    hints=(
        "steps = (q − Z)·m·2^(e − 15); if e < 0, round it to 128ths; then to whole numbers, halves up; + Z', clamp.",
        "to 128ths is floor(128·steps + ½)/128, to whole numbers floor(steps + ½). Make q an int before you subtract.",
    ),
    mistakes=(
        Mistake("Your difference wrapped around: uint8 has no −2. Cast before you subtract.", _recode_unsigned),
        Mistake("Below ½ (e < 0) the HTP rounds twice: first to 128ths, then to whole numbers.", _recoded(_half_up)),
        Mistake("Only below ½ (e < 0) does the HTP round to 128ths first. Else once.", _always_twice),
        Mistake("A half goes up here, also from an odd to an even one: floor(steps + ½).", _recoded(np.rint)),
        Mistake("You cut off the fraction. Round, halves up.", _recoded(np.trunc)),
        Mistake("You always round down. Round, halves up.", _recoded(np.floor)),
        Mistake("A code beyond 0 … 255 wrapped around. Clamp it.", _recode_wraps),
        Mistake(
            "The new zero point is missing.",
            lambda q, z, m, e, y: recode(q, z, m, e, 0),
        ),
        Mistake("The old zero point is missing.", lambda q, z, m, e, y: recode(q, 0, m, e, y)),
    ),
)

BUILDS = [SILU, RECODE]
