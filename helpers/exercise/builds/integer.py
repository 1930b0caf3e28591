"""Chapter 06: a sum, and how it becomes a code, written by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from helpers.exercise.build import Build, Case, Mistake
from helpers.integer.htp_rounding import fixed_point, htp_requantize

CHAPTER = "06_integer"


def accumulate(window: np.ndarray, weight: np.ndarray, zero_point: int, bias: int) -> int:
    """Σ (q_x − Z_x)·q_w + b in whole numbers of at least 32 bits: the course's own answer."""
    return int(((window.astype(np.int64) - zero_point) * weight).sum() + bias)


def _accumulate_cases(rng: np.random.Generator) -> Iterable[Case]:
    for window, weight, zero_point, bias in (
        ([3], [2], 0, 0),
        ([3], [2], 1, 10),
        ([1], [2], 3, 0),
        ([255, 255, 255], [100, 100, 100], 0, 0),
        ([3, 4], [2, -5], 2, 1),
    ):
        yield _window(np.array(window), np.array(weight), zero_point, bias)
    for depth in (8, 64):
        shape = (depth, 3, 3)
        yield _window(rng.integers(0, 256, shape), rng.integers(-127, 128, shape), 113, int(rng.integers(-5000, 5000)))


def _window(window: np.ndarray, weight: np.ndarray, zero_point: int, bias: int) -> Case:
    codes = {"window": window.astype(np.uint8), "weight": weight.astype(np.int8)}
    return {**codes, "zero_point": zero_point, "bias": bias}


def _in_16_bits(window: np.ndarray, weight: np.ndarray, zero_point: int, bias: int) -> int:
    return int(np.int64(accumulate(window, weight, zero_point, bias)).astype(np.int16))


def _wraps_below_zero(window: np.ndarray, weight: np.ndarray, zero_point: int, bias: int) -> int:
    return int(((window - np.uint8(zero_point)).astype(np.int64) * weight).sum() + bias)


def _wraps_products(window: np.ndarray, weight: np.ndarray, zero_point: int, bias: int) -> int:
    products = (window.astype(np.int64) - zero_point) * weight
    return int(products.astype(np.int8).astype(np.int64).sum() + bias)


ACCUMULATE = Build(
    name="integer.accumulate",
    chapter=CHAPTER,
    title="The sum under one window",
    level=1,
    minutes=5,
    reference=accumulate,
    cases=_accumulate_cases,
    hints=(
        "take the zero point off every code of the window, multiply by the weights, add everything up, add the bias.",
        "uint8 and int8 are too narrow for all of this: make the window int64 before the first subtraction.",
    ),
    mistakes=(
        Mistake(
            "A code less than the zero point wrapped around: uint8 has no −2. Widen before you subtract.",
            _wraps_below_zero,
        ),
        Mistake("Your sum was kept in 16 bits and wrapped around. Sum in 32 or more.", _in_16_bits),
        Mistake("Your products were kept in 8 bits and wrapped around. Widen before you multiply.", _wraps_products),
        Mistake("The bias is missing.", lambda x, w, z, b: accumulate(x, w, z, 0)),
        Mistake("The zero point is missing: code 0 does not mean 0.", lambda x, w, z, b: accumulate(x, w, 0, b)),
        Mistake(
            "You took the zero point off once, from the sum. It belongs to every code of the window.",
            lambda x, w, z, b: accumulate(x, w, 0, b) - z,
        ),
        Mistake("You added the zero point. Real numbers are S·(q − Z).", lambda x, w, z, b: accumulate(x, w, -z, b)),
    ),
)


def requantize(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
    """The HTP's codes of int32 sums: the course's own answer, `htp_requantize` on a copy."""
    return htp_requantize(np.array(total, np.int32), np.asarray(m, np.int32), np.asarray(e, np.int32), zero_point)


def _requantize_cases(rng: np.random.Generator) -> Iterable[Case]:
    for total, real, zero_point in (
        ([0], 1 / 8, 3),
        ([80], 1 / 16, 0),
        ([48], 1 / 16, 10),
        ([5_000], 1 / 16, 0),
        ([-400], 1 / 16, 30),
        ([-1_000], 1 / 16, 30),
        ([1600, 1599, 1593], 1 / 128, 0),
    ):
        yield _sums(np.array(total), real, zero_point)
    for real in (0.3, 0.01, 0.0007):
        borders = (rng.integers(-100, 300, 1000) + 0.5) / real  # where rounding shows
        yield _sums(borders + rng.integers(-9, 10, 1000), real, int(rng.integers(20, 100)))


def _sums(total: np.ndarray, real: float, zero_point: int) -> Case:
    m, e = (int(v) for v in fixed_point(real, 12))
    return {"total": total.astype(np.int32), "m": m, "e": e, "zero_point": zero_point}


def _requantized(cut: float = 0.5, half: float = 0.5) -> Callable[..., np.ndarray]:
    """The rule with other parts: what the cut counts as, what is added before the last floor."""

    def answer(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
        kept = np.floor(total * 2.0 ** (e + 3))
        return np.clip(np.floor((kept + cut) * m / 2**15 + half) + zero_point, 0, 255)

    return answer


def _textbook(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
    return np.clip(np.rint(total * (m * 2.0 ** (e - 12))) + zero_point, 0, 255)


def _half_up_uncut(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
    return np.clip(np.floor(total * (m * 2.0 ** (e - 12)) + 0.5) + zero_point, 0, 255)


def _unclamped(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
    return np.floor((np.floor(total * 2.0 ** (e + 3)) + 0.5) * m / 2**15 + 0.5) + zero_point


def _clamps_early(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
    return _requantized()(total, m, e, 0) + zero_point


def _wraps_code(total: np.ndarray, m: int, e: int, zero_point: int) -> np.ndarray:
    return _unclamped(total, m, e, zero_point) % 256


REQUANTIZE = Build(
    name="integer.requantize",
    chapter=CHAPTER,
    title="From a sum to a code, as the HTP does it",
    level=3,
    minutes=15,
    reference=requantize,
    cases=_requantize_cases,
    elementwise="total",
    hints=(
        "three steps: t = ⌊total·2^(e + 3)⌋, then ⌊(t + ½)·m/2¹⁵ + ½⌋, then the zero point and the clamp.",
        "np.floor twice, 2.0 ** (e + 3) with a real 2.0, since e is negative; np.clip(…, 0, 255) comes last.",
    ),
    mistakes=(
        Mistake("You multiplied the whole sum. The HTP cuts it first, to ⌊total·2^(e + 3)⌋.", _textbook),
        Mistake("You multiplied the whole sum. The HTP cuts it first, to ⌊total·2^(e + 3)⌋.", _half_up_uncut),
        Mistake("What was cut counts as one half: t + ½.", _requantized(cut=0.0)),
        Mistake("The last floor needs ½ as well, or every code comes out too low.", _requantized(half=0.0)),
        Mistake("Nothing keeps your code within 0 … 255: clamp it.", _unclamped),
        Mistake("You clamped before you added the zero point. Clamp the finished code.", _clamps_early),
        Mistake("You cast before you clamped: a code beyond 0 … 255 wraps around.", _wraps_code),
        Mistake("The zero point is missing.", lambda t, m, e, z: _requantized()(t, m, e, 0)),
    ),
)


BUILDS = [ACCUMULATE, REQUANTIZE]
