"""Chapter 10: which tensors get 16 bits, chosen by the reader's own search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from helpers.exercise.build import Build, Case, Mistake
from helpers.exercise.show import show_value

CHAPTER = "10_repair"
Drift = Callable[[Sequence[str]], float]


class Measured:
    """A drift that is known of every choice: called with names it gives the number; its repr is the table.

    >>> Measured({"": 10, "a": 7})(["a"])
    7
    """

    def __init__(self, values: Mapping[str, float]):
        self.values = {frozenset(names.split("+")) - {""}: value for names, value in values.items()}

    def __call__(self, names: Sequence[str]) -> float:
        return self.values[frozenset(names)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measured) and self.values == other.values

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))

    def __repr__(self) -> str:
        if len(self.values) > 8:
            return f"a table of {len(self.values)} choices"
        rows = (f"{'+'.join(sorted(names)) or 'none'}: {show_value(v)}" for names, v in self.values.items())
        return "{" + ", ".join(rows) + "}"


def greedy(drift: Drift, sizes: Mapping[str, int], budget: int) -> list[str]:
    """Of what fits, the tensor that lowers drift most, again and again, while one does: the course's own answer."""
    chosen: list[str] = []
    while True:
        room = budget - sum(sizes[name] for name in chosen)
        left = [name for name in sizes if name not in chosen and sizes[name] <= room]
        best = min(left, key=lambda name: drift([*chosen, name]), default=None)
        if best is None or drift([*chosen, best]) >= drift(chosen):
            return chosen
        chosen.append(best)


def _cases(rng: np.random.Generator) -> Iterable[Case]:
    overlap = {"": 10, "a": 6, "b": 6.5, "c": 8, "a+b": 5.5, "a+c": 4, "b+c": 4.5, "a+b+c": 4}
    for values, sizes, budget in (
        ({"": 10, "a": 7}, {"a": 1}, 1),
        ({"": 10, "a": 11}, {"a": 1}, 1),
        ({"": 10, "a": 8, "b": 6, "a+b": 5}, {"a": 1, "b": 1}, 2),
        ({"": 10, "a": 7, "b": 6, "a+b": 5}, {"a": 2, "b": 2}, 1),
        ({"": 10, "a": 7, "b": 6, "a+b": 5}, {"a": 1, "b": 3}, 2),
        ({"": 10, "a": 7, "b": 6, "a+b": 4}, {"a": 2, "b": 2}, 3),
        (overlap, {"a": 1, "b": 1, "c": 1}, 2),
        (overlap, {"a": 1, "b": 1, "c": 1}, 3),
    ):
        yield {"drift": Measured(values), "sizes": sizes, "budget": budget}
    for _ in range(6):
        yield _random_case(rng)


def _random_case(rng: np.random.Generator) -> Case:
    """Five tensors that each lower the drift, the less the more of their kind are there already."""
    names, gain, kind = "abcde", rng.uniform(0.5, 3, 5), rng.integers(0, 3, 5)
    values = {}
    for count in range(6):
        for some in combinations(range(5), count):
            best = sum(max((gain[i] for i in some if kind[i] == k), default=0) for k in range(3))
            values["+".join(names[i] for i in some)] = round(10 - best - 0.1 * sum(gain[i] for i in some), 3)
    sizes = {name: int(rng.integers(1, 4)) for name in names}
    return {"drift": Measured(values), "sizes": sizes, "budget": 5}


def _singly_best(drift: Drift, sizes: Mapping[str, int], budget: int) -> list[str]:
    chosen: list[str] = []
    for name in sorted(sizes, key=lambda name: drift([name])):
        if drift([name]) < drift([]) and sum(sizes[n] for n in [*chosen, name]) <= budget:
            chosen.append(name)
    return chosen


def _fills_the_budget(drift: Drift, sizes: Mapping[str, int], budget: int) -> list[str]:
    chosen: list[str] = []
    while left := [n for n in sizes if n not in chosen and sizes[n] <= budget - sum(sizes[c] for c in chosen)]:
        chosen.append(min(left, key=lambda name: drift([*chosen, name])))
    return chosen


def _ends_at_the_first_too_large(drift: Drift, sizes: Mapping[str, int], budget: int) -> list[str]:
    chosen: list[str] = []
    while left := [name for name in sizes if name not in chosen]:
        best = min(left, key=lambda name: drift([*chosen, name]))
        if drift([*chosen, best]) >= drift(chosen) or sum(sizes[n] for n in [*chosen, best]) > budget:
            break
        chosen.append(best)
    return chosen


def _most_drift(drift: Drift, sizes: Mapping[str, int], budget: int) -> list[str]:
    return greedy(lambda names: -drift(names), sizes, budget)


GREEDY = Build(
    name="search.greedy",
    chapter=CHAPTER,
    title="The tensors that earn their 16 bits",
    level=2,
    minutes=12,
    reference=greedy,
    cases=_cases,
    hints=(
        "measure anew in each round: what a tensor wins depends on those that are chosen already.",
        "in a loop: those left that still fit; of these the one with the least drift([*chosen, name]); end when none "
        "fits, or when it is not less than drift(chosen).",
    ),
    mistakes=(
        Mistake(
            "You ranked the tensors once, each alone. Measure again together with those chosen already.", _singly_best
        ),
        Mistake("You went on where nothing helps any more. End when drift does not fall.", _fills_the_budget),
        Mistake(
            "You went over the budget: the sizes of all chosen together must stay within it.",
            lambda d, s, b: greedy(d, s, sum(s.values())),
        ),
        Mistake(
            "You counted tensors. The budget is about their sizes.", lambda d, s, b: greedy(d, dict.fromkeys(s, 1), b)
        ),
        Mistake(
            "You ended at the first tensor that does not fit. A smaller one may still fit.",
            _ends_at_the_first_too_large,
        ),
        Mistake("You took the tensor with the most drift. Less is better.", _most_drift),
    ),
)

BUILDS = [GREEDY]
