"""Chapter 03: a scale for every output channel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from helpers.exercise.build import Build, Case, Mistake
from helpers.exercise.builds.error import best_end

CHAPTER = "03_granularity"


def per_channel(weight: np.ndarray, qmax: int) -> np.ndarray:
    """max|w| / qmax of every output channel (axis 0), 1 for one of zeros: the course's own answer."""
    top = np.abs(weight).reshape(len(weight), -1).max(1)
    return np.where(top > 0, top / qmax, 1.0)


def _per_channel_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield {"weight": np.array([7.0, 14.0]).reshape(2, 1, 1, 1), "qmax": 7}
    yield {"weight": np.array([[1.0, -7.0], [14.0, 3.0]]).reshape(2, 2, 1, 1), "qmax": 7}
    yield {"weight": np.array([[2.0, 4.0, 7.0], [3.0, 1.0, 0.5]]).reshape(2, 3, 1, 1), "qmax": 7}
    yield {"weight": np.array([[0.0, 0.0], [0.0, 7.0]]).reshape(2, 2, 1, 1), "qmax": 7}
    for qmax in (7, 127):
        yield {"weight": rng.standard_normal((4, 3, 3, 3)), "qmax": qmax}


def _one_for_all(weight: np.ndarray, qmax: int) -> np.ndarray:
    return np.full(len(weight), np.abs(weight).max() / qmax)


def _of_input_channels(weight: np.ndarray, qmax: int) -> np.ndarray:
    return per_channel(weight.swapaxes(0, 1), qmax)


PER_CHANNEL = Build(
    name="granularity.per_channel",
    chapter=CHAPTER,
    title="A scale for each output channel",
    level=1,
    minutes=5,
    reference=per_channel,
    cases=_per_channel_cases,
    rtol=1e-6,
    hints=(
        "the first axis counts the filters. Of each filter take its largest |weight|; that is to be code qmax.",
        "np.abs(weight).max over the axes (1, 2, 3), divided by qmax. Where that is 0, put 1: np.where.",
    ),
    mistakes=(
        Mistake("That is one scale for all. Each filter has a largest weight of its own.", _one_for_all),
        Mistake(
            "That is one scale for all. Each filter has a largest weight of its own.",
            lambda weight, qmax: np.abs(weight).max() / qmax,
        ),
        Mistake("Those are the input channels. Filters lie along the first axis.", _of_input_channels),
        Mistake(
            "Your largest weight misses the negative ones. Take |w|.",
            lambda weight, qmax: weight.reshape(len(weight), -1).max(1) / qmax,
        ),
        Mistake(
            "Those are the largest weights. A scale is one step: divide by qmax.",
            lambda weight, qmax: np.abs(weight).max((1, 2, 3)),
        ),
        Mistake(
            "You divided by qmax + 1. The largest weight is to be code qmax, so there are qmax steps up to it.",
            lambda weight, qmax: np.abs(weight).max((1, 2, 3)) / (qmax + 1),
        ),
        Mistake(
            "You divided by all codes. Half of them are for negative weights: qmax steps lead from 0 to the largest.",
            lambda weight, qmax: np.abs(weight).max((1, 2, 3)) / (2 * qmax),
        ),
        Mistake(
            "A filter of zeros got scale 0, and 0/0 is no code. Give it 1.",
            lambda weight, qmax: np.abs(weight).max((1, 2, 3)) / qmax,
        ),
    ),
)


def integer_layer(q_w: np.ndarray, scale_w: np.ndarray, q_x: np.ndarray, scale_x: float) -> np.ndarray:
    """scale_w[c] · scale_x · Σᵢ q_w[c, i]·q_x[i]: the course's own answer."""
    return scale_w * scale_x * (q_w.astype(np.int64) @ q_x.astype(np.int64))


def _layer_cases(rng: np.random.Generator) -> Iterable[Case]:
    for rows, scales, x, scale in (
        ([[2]], [1.0], [3], 0.5),
        ([[2, 1], [1, 1]], [1.0, 0.5], [3, 1], 1.0),
        ([[100, 50]], [1.0], [2, 3], 1.0),
        ([[1, 2], [3, 4]], [1.0, 10.0], [1, 1], 1.0),
    ):
        yield _layer_case(np.array(rows), np.array(scales), np.array(x), scale)
    for count in (4, 16):
        q_w = rng.integers(-127, 128, (count, count))
        yield _layer_case(q_w, rng.uniform(0.01, 0.1, count), rng.integers(-127, 128, count), 0.25)


def _layer_case(q_w: np.ndarray, scale_w: np.ndarray, q_x: np.ndarray, scale_x: float) -> Case:
    return {"q_w": q_w.astype(np.int8), "scale_w": scale_w, "q_x": q_x.astype(np.int8), "scale_x": scale_x}


def _sums_in_8_bits(q_w: np.ndarray, scale_w: np.ndarray, q_x: np.ndarray, scale_x: float) -> np.ndarray:
    return scale_w * scale_x * (q_w @ q_x)


def _along_the_inputs(q_w: np.ndarray, scale_w: np.ndarray, q_x: np.ndarray, scale_x: float) -> np.ndarray:
    return scale_x * ((q_w * scale_w) @ q_x)


INTEGER_LAYER = Build(
    name="granularity.integer_layer",
    chapter=CHAPTER,
    title="Whole numbers inside, scales outside",
    level=2,
    minutes=6,
    reference=integer_layer,
    cases=_layer_cases,
    rtol=1e-6,
    hints=(
        "sum products of codes for each row of q_w first; only then come the scales, one of them for each row.",
        "q_w.astype(int) @ q_x.astype(int), times scale_w, times scale_x. An int8 product does not fit in int8.",
    ),
    mistakes=(
        Mistake("Your sum wrapped around: it does not fit in 8 bits. Cast the codes first.", _sums_in_8_bits),
        Mistake("The scale of x is missing.", lambda w, s, x, t: s * (w.astype(int) @ x.astype(int))),
        Mistake("The scales of the weights are missing.", lambda w, s, x, t: t * (w.astype(int) @ x.astype(int))),
        Mistake("All scales are missing: that is the sum of codes.", lambda w, s, x, t: w.astype(int) @ x.astype(int)),
        Mistake(
            "Your scales run along the inputs. scale_w has one number for each row, each output.", _along_the_inputs
        ),
        Mistake(
            "You took the first scale for all outputs. Each row has its own.",
            lambda w, s, x, t: s[0] * t * (w.astype(int) @ x.astype(int)),
        ),
    ),
)


def least_error_scales(weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """share·max|w|/7 of every output channel, with the least error in codes −8 … 7: the course's own answer."""
    return np.array([_least_error_scale(channel, shares) for channel in weight])


def _least_error_scale(channel: np.ndarray, shares: np.ndarray) -> float:
    top = np.abs(channel).max()
    return best_end(channel, top * shares) / 7 if top else 1.0


def _least_error_cases(rng: np.random.Generator) -> Iterable[Case]:
    shares = np.array([0.5, 1.0])
    yield {"weight": np.array([[7.0, 1.0]]).reshape(1, 2, 1, 1), "shares": shares}
    yield {"weight": np.array([[7.0, 1, 2, 3], [14, 1, 1, 1]]).reshape(2, 4, 1, 1), "shares": np.array([0.25, 0.5, 1])}
    rare = np.array([[0.5] * 8 + [4.0], [1.0] * 8 + [7.0], [0.0] * 9])
    yield {"weight": rare.reshape(3, 9, 1, 1), "shares": np.array([0.25, 0.5, 0.875, 1.0])}
    for _ in range(3):
        weight = rng.standard_t(4, (5, 6, 3, 3)) * rng.uniform(0.2, 5, (5, 1, 1, 1))
        yield {"weight": weight, "shares": np.linspace(0.3, 1, 15)}


def _of_the_tensor(weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.full(len(weight), _least_error_scale(weight, shares))


def _one_share(weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The same share for all channels, each of its own largest weight."""
    tops = np.abs(weight).max((1, 2, 3), keepdims=True)
    tops = np.where(tops > 0, tops, 7.0)
    errors = []
    for share in shares:
        scale = share * tops / 7
        errors.append(np.mean((weight - scale * np.clip(np.rint(weight / scale), -8, 7)) ** 2))
    best = shares[int(np.argmin(errors))]
    return np.where(np.abs(weight).max((1, 2, 3)) > 0, best * tops[:, 0, 0, 0] / 7, 1.0)


def _never_clips(weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    found = []
    for channel in weight:
        scales = shares * np.abs(channel).max() / 7
        errors = [np.mean((channel - s * np.rint(channel / s)) ** 2) if s else 0.0 for s in scales]
        found.append(scales[int(np.argmin(errors))] or 1.0)
    return np.array(found)


def _zero_scale(weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.where(np.abs(weight).max((1, 2, 3)) > 0, least_error_scales(weight, shares), 0.0)


LEAST_ERROR = Build(
    name="granularity.least_error_scales",
    chapter=CHAPTER,
    title="Each channel searches for itself",
    level=3,
    minutes=10,
    reference=least_error_scales,
    cases=_least_error_cases,
    rtol=1e-6,
    hints=(
        "do the search of chapter 02 once for each filter: its ends are `shares` of its own largest |weight|.",
        "loop over weight; for each filter try scale = share·max|w|/7, codes −8 … 7, and keep the best. Zeros get 1.",
    ),
    mistakes=(
        Mistake("You searched once for the whole tensor. Search in each filter.", _of_the_tensor),
        Mistake("You chose one share for all filters. Each may need another.", _one_share),
        Mistake("Your codes run beyond −8 … 7, so the narrowest range always wins. Clamp them.", _never_clips),
        Mistake(
            "That is the largest weight at code 7. Among `shares` there may be a better one.",
            lambda weight, shares: per_channel(weight, 7),
        ),
        Mistake("You gave ends. A scale is a seventh of that.", lambda weight, shares: _as_ends(weight, shares)),
        Mistake("A filter of zeros got scale 0, and 0/0 is no code. Give it 1.", _zero_scale),
    ),
)


def _as_ends(weight: np.ndarray, shares: np.ndarray) -> Any:
    return 7 * least_error_scales(weight, shares)


BUILDS = [PER_CHANNEL, INTEGER_LAYER, LEAST_ERROR]
