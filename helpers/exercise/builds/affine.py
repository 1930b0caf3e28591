"""Chapter 01: the affine equation, written by the reader."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.affine import QParams, qrange
from helpers.affine import choose_qparams as course_choose_qparams
from helpers.affine import dequantize as course_dequantize
from helpers.affine import quantize as course_quantize
from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "01_affine"


def quantize(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    """clamp(round(x / S) + Z, qmin, qmax) as integers, in ONNX's arithmetic: the course's own answer."""
    dtype = next(d for d in ("uint8", "int8", "uint4", "int4") if qrange(d) == (qmin, qmax))
    return course_quantize(x, QParams(scale, zero_point, dtype)).astype(np.int64)


def _quantize_cases(rng: np.random.Generator) -> Iterable[Case]:
    for values, scale, zero_point, dtype in (
        ([0.0], 1.0, 3, "uint8"),
        ([2.0], 1.0, 0, "uint8"),
        ([0.5, 1.5, 2.5], 1.0, 0, "uint8"),
        ([-1.5, -0.5], 1.0, 10, "uint8"),
        ([300.0], 1.0, 0, "uint8"),
        ([-5.0], 1.0, 2, "uint8"),
        ([0.5, -0.25], 0.25, 128, "uint8"),
        ([-3.0, 9.0], 1.0, 0, "int4"),
    ):
        yield _quantize_case(np.array(values), scale, zero_point, dtype)
    for dtype in ("uint8", "int8", "uint4"):
        yield _quantize_case(10 * rng.standard_normal(1000), 0.5, int(rng.integers(0, 16)), dtype)


def _quantize_case(x: np.ndarray, scale: float, zero_point: int, dtype: str) -> Case:
    qmin, qmax = qrange(dtype)
    return {"x": x.astype(np.float32), "scale": scale, "zero_point": zero_point, "qmin": qmin, "qmax": qmax}


def _wraps(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return (np.rint(x / scale) + zero_point - qmin) % (qmax - qmin + 1) + qmin


def _truncates(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.trunc(x / scale) + zero_point, qmin, qmax)


def _floors(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.floor(x / scale) + zero_point, qmin, qmax)


def _rounds_half_up(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.floor(x / scale + 0.5) + zero_point, qmin, qmax)


def _clamps_before_zero_point(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.rint(x / scale), qmin, qmax) + zero_point


def _multiplies(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.rint(x * scale) + zero_point, qmin, qmax)


def _forgets_zero_point(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.rint(x / scale), qmin, qmax)


def _subtracts_zero_point(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.clip(np.rint(x / scale) - zero_point, qmin, qmax)


def _never_clamps(x: np.ndarray, scale: float, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    return np.rint(x / scale) + zero_point


QUANTIZE = Build(
    name="affine.quantize",
    chapter=CHAPTER,
    title="Real numbers to codes",
    level=1,
    minutes=5,
    reference=quantize,
    cases=_quantize_cases,
    elementwise="x",
    hints=(
        "count steps from zero, then shift by the zero point, and only then keep within qmin … qmax.",
        "x / scale, np.rint, + zero_point, np.clip, in this order; cast last, if at all.",
    ),
    mistakes=(
        Mistake("You cast before you clamped: a code beyond qmin … qmax wraps around.", _wraps),
        Mistake("Nothing keeps your code within qmin … qmax: clamp it.", _never_clamps),
        Mistake("You cut off the fraction: a cast to int rounds towards zero. Round to the nearest first.", _truncates),
        Mistake("You always round down. Round to the nearest.", _floors),
        Mistake("You round halves up. ONNX rounds a half to the even neighbour, as np.rint does.", _rounds_half_up),
        Mistake("You clamped before you added the zero point. Clamp the finished code.", _clamps_before_zero_point),
        Mistake("You multiplied by the scale. A code counts steps: divide.", _multiplies),
        Mistake("The zero point is missing.", _forgets_zero_point),
        Mistake("You subtracted the zero point. q = x/S + Z.", _subtracts_zero_point),
    ),
)


def dequantize(q: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """S·(q − Z), as float32: the course's own answer."""
    return course_dequantize(q, QParams(scale, zero_point, "uint8"))


def _dequantize_cases(rng: np.random.Generator) -> Iterable[Case]:
    for codes, scale, zero_point in (([3], 1.0, 3), ([5], 0.5, 3), ([1], 1.0, 3), ([0, 255], 0.25, 128)):
        yield {"q": np.array(codes, np.uint8), "scale": scale, "zero_point": zero_point}
    yield {"q": rng.integers(0, 256, 100).astype(np.uint8), "scale": 0.1, "zero_point": 77}


def _wraps_below_zero(q: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return scale * (q - np.uint8(zero_point)).astype(np.float32)


DEQUANTIZE = Build(
    name="affine.dequantize",
    chapter=CHAPTER,
    title="Codes to real numbers",
    level=1,
    minutes=3,
    reference=dequantize,
    cases=_dequantize_cases,
    elementwise="q",
    rtol=1e-6,
    hints=(
        "which code means 0? Count the steps from there.",
        "S·(q − Z). A uint8 holds no negative number, so make q an int or a float before you subtract.",
    ),
    mistakes=(
        Mistake("Your difference wrapped around: uint8 has no −2. Cast before you subtract.", _wraps_below_zero),
        Mistake(
            "The zero point must be taken off before the step is applied.", lambda q, s, z: s * q.astype(float) - z
        ),
        Mistake("The zero point is missing.", lambda q, s, z: s * q.astype(float)),
        Mistake("You added the zero point. Going back takes it off.", lambda q, s, z: s * (q.astype(float) + z)),
        Mistake("You divided by the scale. Going back multiplies.", lambda q, s, z: (q.astype(float) - z) / s),
    ),
)


def choose_qparams(low: float, high: float) -> tuple[float, int]:
    """S = (max − min)/255 of the range widened to hold 0, Z = round(−min/S), in 0 … 255: the course's own answer."""
    params = course_choose_qparams(low, high)
    return float(params.scale), int(params.zero_point)


def _choose_cases(rng: np.random.Generator) -> Iterable[Case]:
    for low, high in ((0.0, 255.0), (-1.0, 3.0), (2.0, 6.0), (-6.0, -2.0), (-0.28, 6.0), (0.0, 0.0)):
        yield {"low": low, "high": high}
    for _ in range(20):
        low, high = sorted(rng.normal(0, 5, 2).round(3).tolist())
        yield {"low": low, "high": high}


def _affine(low: float, high: float, steps: int = 255) -> tuple[float, int]:
    scale = (high - low) / steps or 1.0
    return scale, round(-low / scale)


def _zero_outside(low: float, high: float) -> tuple[float, int]:
    scale, zero_point = _affine(low, high)
    return scale, int(np.clip(zero_point, 0, 255))


def _divides_by_256(low: float, high: float) -> tuple[float, int]:
    return _affine(min(low, 0), max(high, 0), 256)


def _zero_is_a_real(low: float, high: float) -> tuple[float, float]:
    low, high = min(low, 0), max(high, 0)
    scale = (high - low) / 255 or 1.0
    return scale, -low / scale


def _symmetric(low: float, high: float) -> tuple[float, int]:
    top = max(abs(low), abs(high)) or 127.5
    return top / 127.5, 128


CHOOSE = Build(
    name="affine.choose_qparams",
    chapter=CHAPTER,
    title="Scale and zero point of a range",
    level=2,
    minutes=8,
    reference=choose_qparams,
    cases=_choose_cases,
    rtol=1e-5,
    hints=(
        "256 codes leave 255 steps, Z is the code that means 0, and 0 must lie in the range.",
        "low = min(low, 0), high = max(high, 0), S = (high − low)/255, Z = round(−low/S). For 0 … 0: S = 1.",
    ),
    mistakes=(
        Mistake("You divided by 256. 256 codes have 255 gaps between them.", _divides_by_256),
        Mistake("0 is not in your range, so no code means 0. Widen the range first.", _zero_outside),
        Mistake("0 is not in your range, and your Z is no code of 0 … 255. Widen the range first.", _affine),
        Mistake("Your Z is no whole number, so no code means exactly 0. Round it.", _zero_is_a_real),
        Mistake("That is the symmetric choice, with Z in the middle. Let Z follow the range.", _symmetric),
    ),
)

BUILDS = [QUANTIZE, DEQUANTIZE, CHOOSE]
