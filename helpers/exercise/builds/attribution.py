"""Chapter 08: which layer is guilty, found by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.error import sqnr_db
from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "08_attribution"
Weights = Mapping[str, np.ndarray]
Run = Callable[[Weights], np.ndarray]


@dataclass(frozen=True)
class Chain:
    """A small network: what is left of `x` after every layer's matrix, in order, each cut off at 0.

    >>> Chain((1.0, -2.0))({"a": np.eye(2), "b": 3 * np.eye(2)})
    array([3., 0.])
    """

    x: tuple[float, ...]

    def __call__(self, weights: Weights) -> np.ndarray:
        x = np.array(self.x)
        for weight in weights.values():
            x = np.maximum(weight @ x, 0)
        return x

    def __repr__(self) -> str:
        return f"the network on {np.round(self.x, 2).tolist()}"


def one_at_a_time(run: Run, weights: Weights, rounded: Weights) -> dict[str, float]:
    """{layer: dB of the output where that layer alone has its rounded weight}: the course's own answer.

    10·log₁₀(Σ y² / Σ (y − ŷ)²), y = run(weights), ŷ the same with one weight replaced.

    >>> one = {"a": np.eye(1), "b": np.eye(1)}
    >>> found = one_at_a_time(Chain((1.0,)), one, {"a": 1.1 * np.eye(1), "b": 1.01 * np.eye(1)})
    >>> {layer: round(db) for layer, db in found.items()}
    {'a': 20, 'b': 40}
    """
    clean = run(weights)
    return {name: sqnr_db(clean, run({**weights, name: rounded[name]})) for name in weights}


def _one_cases(rng: np.random.Generator) -> Iterable[Case]:
    one = np.eye(1)
    yield {"run": Chain((1.0,)), "weights": {"a": 2 * one}, "rounded": {"a": 2.2 * one}}
    yield {
        "run": Chain((1.0,)),
        "weights": {"a": 2 * one, "b": 3 * one},
        "rounded": {"a": 2.5 * one, "b": 2.9 * one},
    }
    yield {
        "run": Chain((1.0, 0.0)),
        "weights": {"a": np.diag([2.0, 1.0])},
        "rounded": {"a": np.diag([2.1, 2.0])},
    }
    for count in (3, 5):
        weights = {f"layer {k}": rng.uniform(0, 1, (4, 4)) for k in range(count)}
        rounded = {name: np.rint(4 * w) / 4 for name, w in weights.items()}
        yield {"run": Chain(tuple(rng.uniform(0, 1, 4).tolist())), "weights": weights, "rounded": rounded}


def _keeps_rounded(run: Run, weights: Weights, rounded: Weights) -> dict[str, float]:
    clean, now, found = run(weights), dict(weights), {}
    for name in weights:
        now[name] = rounded[name]
        found[name] = sqnr_db(clean, run(now))
    return found


def _all_but_one(run: Run, weights: Weights, rounded: Weights) -> dict[str, float]:
    clean = run(weights)
    return {name: sqnr_db(clean, run({**rounded, name: weights[name]})) for name in weights}


def _of_the_weight(run: Run, weights: Weights, rounded: Weights) -> dict[str, float]:
    return {name: sqnr_db(weights[name], rounded[name]) for name in weights}


ONE_AT_A_TIME = Build(
    name="attribution.one_at_a_time",
    chapter=CHAPTER,
    title="Round one layer, listen at the output",
    level=2,
    minutes=8,
    reference=one_at_a_time,
    cases=_one_cases,
    rtol=1e-6,
    atol=1e-6,
    hints=(
        "one clean run first; then for each layer a run in which only that layer's weight is another.",
        "{**weights, name: rounded[name]} is a copy with one weight replaced. Compare its output with the clean one.",
    ),
    mistakes=(
        Mistake("Your layers stay rounded: the second run has two of them. Begin anew for each.", _keeps_rounded),
        Mistake("You rounded all layers but one. Round that one only.", _all_but_one),
        Mistake("You compared the weights. Compare what comes out of the network.", _of_the_weight),
    ),
)


def noise_sum(levels: Sequence[float]) -> float:
    """dB that independent noises leave together, each alone leaving `levels` dB: the course's own answer.

    −10·log₁₀ Σ 10^(−dB/10): the powers add.

    >>> round(noise_sum([30, 30]), 2)
    26.99
    """
    return float(-10 * np.log10(np.sum(10 ** (-np.asarray(levels, float) / 10))))


def _sum_cases(rng: np.random.Generator) -> Iterable[Case]:
    for levels in ([20.0], [30.0, 30.0], [10.0, 30.0], [0.0, 0.0, 0.0, 0.0]):
        yield {"levels": levels}
    for count in (3, 100):
        yield {"levels": rng.uniform(5, 60, count).round(1).tolist()}


def _amplitudes(levels: Sequence[float]) -> float:
    return float(-20 * np.log10(np.sum(10 ** (-np.asarray(levels) / 20))))


def _means_power(levels: Sequence[float]) -> float:
    return float(-10 * np.log10(np.mean(10 ** (-np.asarray(levels) / 10))))


def _signals_add(levels: Sequence[float]) -> float:
    return float(10 * np.log10(np.sum(10 ** (np.asarray(levels) / 10))))


NOISE_SUM = Build(
    name="attribution.noise_sum",
    chapter=CHAPTER,
    title="Many noises together",
    level=1,
    minutes=5,
    reference=noise_sum,
    cases=_sum_cases,
    rtol=1e-6,
    atol=1e-6,
    hints=(
        "decibels do not add. Turn each level into a noise power, with the signal at 1, and add those.",
        "30 dB is a power of 10 ** (−30/10) = 0.001. Add the powers, then go back: −10·log₁₀ of the sum.",
    ),
    mistakes=(
        Mistake("You added decibels. Add powers.", lambda levels: float(np.sum(levels))),
        Mistake("You took the mean of the decibels. Noises add up, they do not average.", lambda v: float(np.mean(v))),
        Mistake("You took the mean of the powers. Take their sum.", _means_power),
        Mistake("You took the worst level alone. The others add to it.", lambda levels: float(np.min(levels))),
        Mistake(
            "You added amplitudes, as if all noises pushed the same way. Independent ones add in power.", _amplitudes
        ),
        Mistake("Your sum grew with each noise. More noise means fewer dB: mind the sign.", _signals_add),
    ),
)


def within_budget(noise: Mapping[str, float], size: Mapping[str, int], budget: float) -> list[str]:
    """Layers worth more bits, most noise for each weight first, each taken if it still fits: the course's own answer.

    `noise` is what each layer adds to the output's noise power, `size` how many weights it has, `budget` how many
    weights may be taken.

    >>> within_budget({"a": 4.0, "b": 3.0, "c": 1.0}, {"a": 100, "b": 10, "c": 5}, 20)
    ['b', 'c']
    """
    chosen = []
    for name in sorted(noise, key=lambda name: -noise[name] / size[name]):
        if size[name] <= budget:
            chosen.append(name)
            budget -= size[name]
    return chosen


def _budget_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield {"noise": {"a": 1.0}, "size": {"a": 10}, "budget": 10}
    yield {"noise": {"a": 4.0, "b": 3.0}, "size": {"a": 100, "b": 10}, "budget": 100}
    yield {"noise": {"a": 3.0, "b": 2.0, "c": 1.0}, "size": {"a": 10, "b": 20, "c": 15}, "budget": 25}
    yield {"noise": {"a": 1.0, "b": 9.0, "c": 5.0}, "size": {"a": 4, "b": 4, "c": 4}, "budget": 8}
    for count in (6, 40):
        names = [f"layer {k}" for k in range(count)]
        noise = dict(zip(names, rng.uniform(0.1, 10, count).round(2).tolist(), strict=True))
        size = dict(zip(names, rng.integers(5, 500, count).tolist(), strict=True))
        yield {"noise": noise, "size": size, "budget": int(sum(size.values()) // 4)}


def _greedy(order: list[str], size: Mapping[str, int], budget: float, stop: bool = False) -> list[str]:
    chosen: list[str] = []
    for name in order:
        if size[name] <= budget:
            chosen.append(name)
            budget -= size[name]
        elif stop:
            break
    return chosen


def _worth(noise: Mapping[str, float], size: Mapping[str, int]) -> list[str]:
    return sorted(noise, key=lambda name: -noise[name] / size[name])


def _forgets_size(noise: Mapping[str, float], size: Mapping[str, int], budget: float) -> list[str]:
    return _greedy(sorted(noise, key=lambda name: -noise[name]), size, budget)


def _least_first(noise: Mapping[str, float], size: Mapping[str, int], budget: float) -> list[str]:
    return _greedy(_worth(noise, size)[::-1], size, budget)


def _stops_early(noise: Mapping[str, float], size: Mapping[str, int], budget: float) -> list[str]:
    return _greedy(_worth(noise, size), size, budget, stop=True)


def _each_against_whole(noise: Mapping[str, float], size: Mapping[str, int], budget: float) -> list[str]:
    return [name for name in _worth(noise, size) if size[name] <= budget]


WITHIN_BUDGET = Build(
    name="attribution.within_budget",
    chapter=CHAPTER,
    title="Spend the bits where they help most",
    level=2,
    minutes=8,
    reference=within_budget,
    cases=_budget_cases,
    hints=(
        "a layer is worth its bits if it takes away much noise for each weight. Take layers in that order.",
        "sort names by noise[name] / size[name], largest first; take one if size[name] ≤ what is left; else skip it.",
    ),
    mistakes=(
        Mistake("You took the noisiest first, whatever they cost. Divide by the size.", _forgets_size),
        Mistake("You took the least guilty first. Turn the order round.", _least_first),
        Mistake("You stopped at the first layer that does not fit. Skip it: a smaller one may.", _stops_early),
        Mistake("You never took anything off the budget. Each layer uses some of it up.", _each_against_whole),
    ),
)

BUILDS = [ONE_AT_A_TIME, NOISE_SUM, WITHIN_BUDGET]
