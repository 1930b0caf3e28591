"""Predict, build, check: the questions that notebooks ask, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.exercise.build import Build, Mistake, judge
from helpers.exercise.builds import build_named, builds
from helpers.exercise.progress import Progress, note, progress, read, rebuilt, reset, source_of, yours
from helpers.exercise.show import show
from helpers.exercise.verdict import Verdict, answer, guess

__all__ = [
    "Build",
    "Mistake",
    "Progress",
    "Verdict",
    "answer",
    "build_named",
    "builds",
    "check",
    "guess",
    "judge",
    "progress",
    "reset",
    "show",
    "yours",
]


def check(build: Any, yours: Any, atol: float = 0.0, hint: str = "") -> Verdict:
    """Test a function of yours: `check("affine.quantize", my_quantize)`; or a number: `check(my_Z, 128)`.

    A function runs on hidden cases. The verdict shows the smallest one that fails, names the mistake where it is a
    typical one, and gives a hint, a stronger one from the second miss on. What passes is kept for the chapters after.
    A number is compared within `atol`. Raises ValueError for an unknown build.

    >>> check(118, 128, hint="Z = round(qmin − rmin/S)")
    Not yet: off by 10. Hint: Z = round(qmin − rmin/S)
    """
    if not isinstance(build, str):
        return answer(build, yours, atol, hint)
    return _check_function(build_named(build), yours)


def _check_function(build: Build, function: Callable[..., Any]) -> Verdict:
    if not callable(function):
        text = f"{build.name}: give the function itself, not its result: check({build.name!r}, my_function)."
        return Verdict(False, float("inf"), text)
    verdict = judge(build, function, read().get(build.name, {}).get("misses", 0))
    if not verdict.tried:
        return verdict
    if not verdict:
        note(build, False)
        return verdict
    source = source_of(function)
    kept = source is not None and bool(judge(build, rebuilt(source)))
    note(build, True, source if kept else None)
    if kept:
        return verdict
    more = "It needs something of this notebook that cannot be kept: later chapters use the course's own."
    return Verdict(True, 0.0, f"{verdict.text}\n{more}")
