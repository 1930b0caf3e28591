"""A build: a function that the reader writes, and how it is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from helpers.exercise.show import show_case, show_value
from helpers.exercise.verdict import Verdict

Case = Mapping[str, Any]  # {argument: value}, in the order of the function's arguments


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer: a function that makes it, and the sentence for whoever made the same."""

    sentence: str
    function: Callable[..., Any]


@dataclass(frozen=True)
class Build:
    """A function with a blank body in a notebook: what it is to do, and what is known of wrong answers.

    `cases` gives the arguments of each try, the smallest first; `reference` gives the truth. Values agree where
    |yours − truth| ≤ atol + rtol·|truth|. `elementwise` names the argument whose elements are computed one by one, so
    that a counterexample can be cut down to one of them. `draw(case, yours, truth)` makes a picture of it.
    """

    name: str  # "affine.quantize": the file of builds/ and the function
    chapter: str
    title: str
    level: int  # 1 … 3
    minutes: int
    reference: Callable[..., Any]
    cases: Callable[[np.random.Generator], Iterable[Case]]
    hints: tuple[str, str]  # for the first miss, and for those after it
    mistakes: tuple[Mistake, ...] = ()
    atol: float = 0.0
    rtol: float = 0.0
    elementwise: str | None = None
    draw: Callable[[Case, Any, Any], Figure] | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Title, difficulty and time, as a notebook's heading has them.

        >>> Build("a.b", "01", "Round", 2, 5, round, lambda rng: [], ("", "")).label
        'Round ●●○ 5 min'
        """
        return f"{self.title} {'●' * self.level}{'○' * (3 - self.level)} {self.minutes} min"


def judge(build: Build, function: Callable[..., Any], misses: int = 0) -> Verdict:
    """Run a reader's function on the build's cases; the verdict names the first that fails, and the mistake.

    `misses` is how many wrong answers came before, which chooses the hint. Cases are seeded: the same function gets
    the same verdict.
    """
    failed = None
    for case in build.cases(np.random.default_rng(0)):
        failed = _failure(build, function, case)
        if failed is not None:
            break
    if failed is None:
        return Verdict(True, 0.0, f"Right: {build.name} agrees on every case. {build.label}.")
    if failed.blank:
        text = f"{build.name}: still blank. {build.label}. Write its body and run the cell."
        return Verdict(False, float("inf"), text, tried=False)
    lines = [failed.text]
    if mistake := _likeliest(build, function, failed):
        lines.append(mistake.sentence)
    lines.append(f"Hint: {build.hints[min(misses, 1)]}")
    figure = build.draw(failed.case, failed.yours, failed.truth) if build.draw and failed.answered else None
    return Verdict(False, failed.distance, "\n".join(lines), figure)


@dataclass(frozen=True)
class _Failure:
    case: Case
    yours: Any
    truth: Any
    text: str
    distance: float = float("inf")
    blank: bool = False
    answered: bool = True  # the function gave a value of the right form


def _failure(build: Build, function: Callable[..., Any], case: Case) -> _Failure | None:
    """What is wrong with a function on one case, cut down to one element where that is wrong too."""
    found = _try(build, function, case)
    if found is None or found.blank or build.elementwise is None:
        return found
    values = np.asarray(case[build.elementwise])
    for value in values.ravel() if values.ndim else ():
        smaller = _try(build, function, {**case, build.elementwise: np.array([value], values.dtype)})
        if smaller is not None and smaller.answered == found.answered:
            return smaller
    return found


def _try(build: Build, function: Callable[..., Any], case: Case) -> _Failure | None:
    truth = build.reference(*copy.deepcopy(list(case.values())))
    given = copy.deepcopy(list(case.values()))
    shown = show_case(case)
    try:
        with np.errstate(all="ignore"):
            yours = function(*given)
    except Exception as e:  # whatever a reader's code raises is an answer that can be talked about
        text = f"Your function stopped with {type(e).__name__}: {e}\nfor {shown}."
        return _Failure(case, None, truth, text, answered=False)
    if yours is None:
        return _Failure(case, None, truth, "", blank=True, answered=False)
    if not _same(given, list(case.values()), 0, 0)[0]:
        return _Failure(case, yours, truth, f"Your function changed its own arguments, for {shown}. Work on a copy.")
    same, distance = _same(yours, truth, build.atol, build.rtol)
    if same:
        return None
    text = f"Not yet. For {shown}\n  yours: {show_value(yours)}\n  right: {show_value(truth)}"
    return _Failure(case, yours, truth, text, distance)


def _likeliest(build: Build, function: Callable[..., Any], failed: _Failure) -> Mistake | None:
    """The mistake that gives the reader's value in the failed case; of several, the one that does so most often."""
    if not failed.answered:
        return None
    fitting = [m for m in build.mistakes if _agrees(m.function, lambda *_: failed.yours, failed.case, build)]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    cases = list(build.cases(np.random.default_rng(0)))
    return max(fitting, key=lambda m: sum(_agrees(m.function, function, case, build) for case in cases))


def _agrees(a: Callable[..., Any], b: Callable[..., Any], case: Case, build: Build) -> bool:
    """Whether two functions give the same on a case; what raises agrees with nothing."""
    try:
        with np.errstate(all="ignore"):
            first, second = (f(*copy.deepcopy(list(case.values()))) for f in (a, b))
    except Exception:
        return False
    return _same(first, second, build.atol, build.rtol)[0]


def _same(yours: Any, truth: Any, atol: float, rtol: float) -> tuple[bool, float]:
    """Whether two values agree, and by how much numbers differ at most; inf for another shape or kind."""
    if isinstance(truth, Mapping):
        if not isinstance(yours, Mapping) or set(yours) != set(truth):
            return False, float("inf")
        yours, truth = [yours[k] for k in truth], list(truth.values())
    if isinstance(truth, (list, tuple)) and not _is_numeric(truth):
        if not isinstance(yours, (list, tuple)) or len(yours) != len(truth):
            return False, float("inf")
        parts = [_same(a, b, atol, rtol) for a, b in zip(yours, truth, strict=True)]
        return all(same for same, _ in parts), max((d for _, d in parts), default=0.0)
    if not _is_numeric(truth):
        same = type(yours) is type(truth) and bool(yours == truth)
        return same, 0.0 if same else float("inf")
    if not _is_numeric(yours) or np.shape(yours) != np.shape(truth):
        return False, float("inf")
    a, b = np.asarray(yours, np.float64), np.asarray(truth, np.float64)
    same = bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        gap = np.where(a == b, 0, np.abs(a - b))
    return same, float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0))


def _is_numeric(value: Any) -> bool:
    """Whether NumPy makes an array of numbers of it."""
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # a list of arrays of unequal shapes
        return False
