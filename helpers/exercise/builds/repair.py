"""Chapter 10: what rounded weights lose, and how it is paid back, written by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "10_repair"
LOWEST, HIGHEST = -8, 7  # codes of 4 bits


def correct_bias(bias: np.ndarray, weight: np.ndarray, quantized: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """b + (w − ŵ)·E[x] of each output channel, as `repair.correct_bias` has it: the course's own answer."""
    return bias + (weight - quantized) @ mean


def _bias_cases(rng: np.random.Generator) -> Iterable[Case]:
    for bias, weight, quantized, mean in (
        ([0.0], [[1.0]], [[0.5]], [2.0]),
        ([10.0], [[1.0, 2.0]], [[1.0, 1.0]], [0.0, 3.0]),
        ([1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 1.5]], [4.0, 2.0]),
    ):
        yield _layer(*map(np.array, (bias, weight, quantized, mean)))
    for channels, inputs in ((4, 9), (16, 72)):
        weight = rng.standard_normal((channels, inputs))
        yield _layer(rng.standard_normal(channels), weight, np.rint(2 * weight) / 2, rng.standard_normal(inputs))


def _layer(bias: np.ndarray, weight: np.ndarray, quantized: np.ndarray, mean: np.ndarray) -> Case:
    return {"bias": bias, "weight": weight, "quantized": quantized, "mean": mean}


def _one_for_all(bias: np.ndarray, weight: np.ndarray, quantized: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return bias + ((weight - quantized) @ mean).mean()


def _one_mean(bias: np.ndarray, weight: np.ndarray, quantized: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return bias + (weight - quantized).sum(1) * mean.mean()


CORRECT_BIAS = Build(
    name="repair.correct_bias",
    chapter=CHAPTER,
    title="Give the mean back to the bias",
    level=1,
    minutes=5,
    reference=correct_bias,
    cases=_bias_cases,
    rtol=1e-5,
    atol=1e-6,
    hints=(
        "what does one output lose on the mean input? Each weight's loss times the mean of its input, added up.",
        "(weight − quantized) is C×K and mean is K: their matrix product is what each of the C channels lost.",
    ),
    mistakes=(
        Mistake(
            "You moved the bias the wrong way: what w − ŵ lost has to be added.", lambda b, w, q, m: b - (w - q) @ m
        ),
        Mistake(
            "The mean input is missing: a lost weight counts as much as its input is large.",
            lambda b, w, q, m: b + (w - q).sum(1),
        ),
        Mistake("That is what was lost, without the old bias. Add it to the bias.", lambda b, w, q, m: (w - q) @ m),
        Mistake("You moved every channel by the same. Each output channel lost something else.", _one_for_all),
        Mistake("You took one mean for all inputs. Each of the K inputs has its own.", _one_mean),
    ),
)


def round_row(row: np.ndarray, scale: float, share: np.ndarray) -> np.ndarray:
    """Codes −8 … 7, each weight's loss handed to those behind it: the course's own answer, as GPTQ has it."""
    rest, codes = np.array(row, float), np.zeros(len(row), int)
    for i in range(len(rest)):
        codes[i] = min(max(round(rest[i] / scale), LOWEST), HIGHEST)
        rest[i + 1 :] += (rest[i] - codes[i] * scale) * share[i, i + 1 :]
    return codes


def _row_cases(rng: np.random.Generator) -> Iterable[Case]:
    for row, scale, shares in (
        ([0.4], 1.0, 0.0),
        ([0.4, 0.4], 1.0, 1.0),
        ([0.3, 0.3], 0.5, 1.0),
        ([9.0, 1.0], 1.0, 0.5),
        ([0.4, 0.4, 0.4], 1.0, 1.0),
        ([1.4, 1.3, 1.2], 1.0, 1.0),
        ([2.5], 1.0, 0.0),
    ):
        yield {"row": np.array(row), "scale": scale, "share": np.triu(np.full((len(row),) * 2, shares), 1)}
    for length in (5, 12):
        share = np.triu(rng.uniform(-0.5, 0.8, (length, length)), 1)
        yield {"row": 3 * rng.standard_normal(length), "scale": 0.7, "share": share}


def _code(value: float) -> int:
    return min(max(round(value), LOWEST), HIGHEST)


def _row_by(
    lost: Callable[[float, float, int, float], float] = lambda now, _, code, s: now - code * s,
    code: Callable[[float], int] = _code,
    reach: int | None = None,
) -> Callable[..., np.ndarray]:
    """The rule with another loss (of the weight now, the weight as given, its code, S), code, or reach."""

    def answer(row: np.ndarray, scale: float, share: np.ndarray) -> np.ndarray:
        rest, codes = np.array(row, float), np.zeros(len(row), int)
        for i in range(len(rest)):
            codes[i] = code(rest[i] / scale)
            end = None if reach is None else i + 1 + reach
            rest[i + 1 : end] += lost(rest[i], row[i], codes[i], scale) * share[i, i + 1 : end]
        return codes

    return answer


def _clamps_late(row: np.ndarray, scale: float, share: np.ndarray) -> np.ndarray:
    return np.clip(_row_by(code=round)(row, scale, share), LOWEST, HIGHEST)


ROUND_ROW = Build(
    name="repair.round_row",
    chapter=CHAPTER,
    title="Round a row and pay the error back",
    level=3,
    minutes=15,
    reference=round_row,
    cases=_row_cases,
    hints=(
        "go through the row from the left. A weight that has just been rounded is done; those behind it are still free "
        "and take over what it lost, each by its share.",
        "on a copy of the row, for each i: its code, then what it lost, copy[i] − code·scale, and last "
        "copy[i + 1:] += lost·share[i, i + 1:].",
    ),
    mistakes=(
        Mistake("That is rounding to nearest: nothing was paid back to the weights behind.", _row_by(lambda *_: 0.0)),
        Mistake(
            "You paid back with the wrong sign. What was lost must be added to the weights behind.",
            _row_by(lambda now, _, code, s: code * s - now),
        ),
        Mistake("Only the next neighbour was paid. All weights behind take their share.", _row_by(reach=1)),
        Mistake(
            "You measured the loss in codes. It is a real number: the weight less code · scale.",
            _row_by(lambda now, _, code, s: now - code),
        ),
        Mistake(
            "You took the loss from the weight as given. Take it from the weight as it is now, with what it was paid.",
            _row_by(lambda _, given, code, s: given - code * s),
        ),
        Mistake(
            "You clamped at the end. Clamp each code at once: what the clamp takes off must be paid back too.",
            _clamps_late,
        ),
        Mistake("Nothing keeps your codes within −8 … 7.", _row_by(code=round)),
        Mistake(
            "You cut off the fraction. Round to the nearest code.",
            _row_by(code=lambda v: int(np.clip(np.trunc(v), LOWEST, HIGHEST))),
        ),
        Mistake(
            "You round halves up. Round a half to the even code, as np.rint does.",
            _row_by(code=lambda v: int(np.clip(np.floor(v + 0.5), LOWEST, HIGHEST))),
        ),
    ),
)

BUILDS = [CORRECT_BIAS, ROUND_ROW]
