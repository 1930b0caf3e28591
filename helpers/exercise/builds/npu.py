"""The course's last build: a whole layer, from codes to codes, out of the reader's own functions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.affine import QParams
from helpers.exercise.build import Build, Case, Mistake
from helpers.integer.htp_rounding import fixed_point, function_lut, htp_requantize

CHAPTER = "your_npu"


def layer(
    windows: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    zero_point: int,
    m: np.ndarray,
    e: np.ndarray,
    out_zero_point: int,
    table: np.ndarray,
) -> np.ndarray:
    """table[requantize(Σ (q_x − Z)·q_w + b)] of N windows, C×N: the course's own answer."""
    sums = weight.astype(np.int64) @ (windows.astype(np.int64) - zero_point).T + bias[:, None]
    return table[htp_requantize(sums, m[:, None], e[:, None], out_zero_point)]


def _cases(rng: np.random.Generator) -> Iterable[Case]:
    yield _layer(np.array([[3, 4]]), np.array([[2, 5]]), np.array([7]), 1, [0.1], 10)
    yield _layer(np.array([[9, 2], [0, 5]]), np.array([[40, -50], [-60, 70]]), np.array([30, -20]), 2, [0.05, 0.02], 60)
    for places, inputs, channels in ((5, 9, 3), (40, 72, 8)):
        windows, weight = rng.integers(0, 256, (places, inputs)), rng.integers(-127, 128, (channels, inputs))
        real = rng.uniform(0.0005, 0.003, channels)
        yield _layer(windows, weight, rng.integers(-3000, 3000, channels), 110, real, 120)


def _layer(
    windows: np.ndarray, weight: np.ndarray, bias: np.ndarray, zero_point: int, real: Iterable[float], out: int
) -> Case:
    m, e = fixed_point(np.array(real), 12)
    table = function_lut(lambda x: x / (1 + np.exp(-x)), QParams(0.06, out, "uint8"), QParams(0.04, 7, "uint8"))
    codes = {"windows": windows.astype(np.uint8), "weight": weight.astype(np.int8), "bias": bias.astype(np.int32)}
    return {**codes, "zero_point": zero_point, "m": m, "e": e, "out_zero_point": out, "table": table}


LAYER = Build(
    name="npu.layer",
    chapter=CHAPTER,
    title="A layer, from codes to codes",
    level=2,
    minutes=10,
    reference=layer,
    cases=_cases,
    hints=(
        "three steps that you have written already: the sums, their codes, and the table.",
        "accumulate for each channel and each window makes an array C×N; requantize it with m[:, None], e[:, None]; "
        "then table[codes].",
    ),
    mistakes=(
        Mistake(
            "The table is missing: these are the codes in front of it.",
            lambda x, w, b, z, m, e, o, t: layer(x, w, b, z, m, e, o, np.arange(256)),
        ),
        Mistake("The bias is missing.", lambda x, w, b, z, m, e, o, t: layer(x, w, 0 * b, z, m, e, o, t)),
        Mistake(
            "You took the output's zero point off the inputs. They have their own.",
            lambda x, w, b, z, m, e, o, t: layer(x, w, b, o, m, e, o, t),
        ),
        Mistake(
            "You added the input's zero point to the codes. The output has its own.",
            lambda x, w, b, z, m, e, o, t: layer(x, w, b, z, m, e, z, t),
        ),
        Mistake(
            "The zero point of the inputs is missing.", lambda x, w, b, z, m, e, o, t: layer(x, w, b, 0, m, e, o, t)
        ),
        Mistake(
            "Windows and channels changed places: return one row for each channel.", lambda *given: layer(*given).T
        ),
    ),
)

BUILDS = [LAYER]
