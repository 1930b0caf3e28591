"""Chapter 10: what rounded weights lose, and how it is paid back, written by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "10_repair"


def correct_bias(bias: np.ndarray, weight: np.ndarray, quantized: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """b + (w − ŵ)·E[x] of each output channel, as `repair.correct_bias` has it: the course's own answer."""
    return bias + (weight - quantized) @ mean


def _bias_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield _layer([0.0], [[1.0]], [[0.5]], [2.0])
    yield _layer([10.0], [[1.0, 2.0]], [[1.0, 1.0]], [0.0, 3.0])
    yield _layer([1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 1.5]], [4.0, 2.0])
    for channels, inputs in ((4, 9), (16, 72)):
        weight = rng.standard_normal((channels, inputs))
        yield _layer(rng.standard_normal(channels), weight, np.rint(2 * weight) / 2, rng.standard_normal(inputs))


def _layer(bias: ArrayLike, weight: ArrayLike, quantized: ArrayLike, mean: ArrayLike) -> Case:
    arguments = {"bias": bias, "weight": weight, "quantized": quantized, "mean": mean}
    return {name: np.array(value) for name, value in arguments.items()}


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


def round_rows(weight: np.ndarray, scale: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Codes −8 … 7 of C×K weights, each column's loss handed on, as GPTQ does: the course's own answer."""
    return _rounded_by()(weight, scale, share)


def _code(steps: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(steps), -8, 7)


def _rounded_by(
    lost: Callable[..., np.ndarray] = lambda now, given, code, s: now - code * s,
    code: Callable[[np.ndarray], np.ndarray] = _code,
    reach: int | None = None,
) -> Callable[..., np.ndarray]:
    """The rule, or one with another loss (of the column now, as given, its codes, S), another code, or less reach."""

    def answer(weight: np.ndarray, scale: np.ndarray, share: np.ndarray) -> np.ndarray:
        rest, codes = np.array(weight, float), np.zeros(weight.shape)
        for i in range(weight.shape[1]):
            codes[:, i] = code(rest[:, i] / scale)
            behind = slice(i + 1, None if reach is None else i + 1 + reach)
            rest[:, behind] += np.outer(lost(rest[:, i], weight[:, i], codes[:, i], scale), share[i, behind])
        return codes

    return answer


def _rows_cases(rng: np.random.Generator) -> Iterable[Case]:
    for rows, scale, shares in (
        ([[0.4]], 1.0, 0.0),
        ([[0.4, 0.4]], 1.0, 1.0),
        ([[0.3, 0.3]], 0.5, 1.0),
        ([[9.0, 1.0]], 1.0, 0.5),
        ([[0.4, 0.4, 0.4]], 1.0, 1.0),
        ([[2.5]], 1.0, 0.0),
        ([[0.4, 0.4], [1.3, 0.3]], 1.0, 1.0),
    ):
        yield _rows(np.array(rows), np.full(len(rows), scale), shares)
    for channels, inputs in ((2, 5), (8, 18)):
        weight = 3 * rng.standard_normal((channels, inputs))
        yield _rows(weight, rng.uniform(0.4, 0.9, channels), rng.uniform(-0.5, 0.8, (inputs, inputs)))


def _rows(weight: np.ndarray, scale: np.ndarray, share: np.ndarray | float) -> Case:
    return {"weight": weight, "scale": scale, "share": np.triu(np.ones((weight.shape[1],) * 2) * share, 1)}


def _clamps_late(weight: np.ndarray, scale: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.clip(_rounded_by(code=np.rint)(weight, scale, share), -8, 7)


ROUND_ROWS = Build(
    name="repair.round_rows",
    chapter=CHAPTER,
    title="Round and pay the error back",
    level=3,
    minutes=15,
    reference=round_rows,
    cases=_rows_cases,
    hints=(
        "go through the columns from the left. A column that has just been rounded is done; those behind it are still "
        "free and take over what it lost, each by its share.",
        "on a copy: codes[:, i], then lost = copy[:, i] − codes[:, i]·scale, and last copy[:, i + 1:] += the outer "
        "product of lost and share[i, i + 1:].",
    ),
    mistakes=(
        Mistake(
            "That is rounding to nearest: nothing was paid back to the weights behind.",
            _rounded_by(lambda now, *_: 0 * now),
        ),
        Mistake(
            "You paid back with the wrong sign. What was lost must be added to the weights behind.",
            _rounded_by(lambda now, _, code, s: code * s - now),
        ),
        Mistake("Only the next column was paid. All columns behind take their share.", _rounded_by(reach=1)),
        Mistake(
            "You measured the loss in codes. It is a real number: the weight less code · scale.",
            _rounded_by(lambda now, _, code, s: now - code),
        ),
        Mistake(
            "You took the loss from the weights as given. Take it from the weights as they are now, after payment.",
            _rounded_by(lambda _, given, code, s: given - code * s),
        ),
        Mistake(
            "You clamped at the end. Clamp each code at once: what the clamp takes off must be paid back too.",
            _clamps_late,
        ),
        Mistake("Nothing keeps your codes within −8 … 7.", _rounded_by(code=np.rint)),
        Mistake(
            "You cut off the fraction. Round to the nearest code.",
            _rounded_by(code=lambda steps: np.clip(np.trunc(steps), -8, 7)),
        ),
        Mistake(
            "You round halves up. Round a half to the even code, as np.rint does.",
            _rounded_by(code=lambda steps: np.clip(np.floor(steps + 0.5), -8, 7)),
        ),
    ),
)

BUILDS = [CORRECT_BIAS, ROUND_ROWS]
