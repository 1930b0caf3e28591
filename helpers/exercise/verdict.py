"""What a learner is told: a verdict, and the comparison of a guess or of a number with the truth."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Verdict:
    """What a check found: truthy when passed, and its repr is the sentence the learner reads.

    `distance` is |yours − truth|, inf where there is no answer. `figure`, if any, shows the counterexample;
    `tried` is False where nothing was written yet, which counts as no miss.

    >>> bool(Verdict(True, 0.0, "Right.")), Verdict(True, 0.0, "Right.")
    (True, Right.)
    """

    passed: bool
    distance: float
    text: str
    figure: Figure | None = None
    tried: bool = True

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        colour = "#009E73" if self.passed else "#E69F00"
        style = f"border-left: 4px solid {colour}; padding: 2px 10px; white-space: pre-wrap"
        return f'<div style="{style}">{html.escape(self.text)}</div>'

    def _repr_png_(self) -> bytes | None:
        if self.figure is None:
            return None
        png = io.BytesIO()
        self.figure.savefig(png, format="png", dpi=80)
        return png.getvalue()


def guess(yours: float | None, truth: float, unit: str = "") -> Verdict:
    """Set a prediction beside the measured value: |yours − truth|, in `unit`.

    A guess cannot be wrong, so the verdict passes as soon as one was made. `None` means not made yet.

    >>> guess(0.5, 0.375, "px")
    You said 0.5 px, it is 0.375 px: 33 % too high.
    """
    unit = f" {unit}" if unit else ""
    if yours is None:
        text = "No prediction yet: put your number in place of None above, run that cell, then this one."
        return Verdict(False, float("inf"), text)
    gap = abs(yours - truth)
    if gap == 0:
        return Verdict(True, 0.0, f"You said {yours:.4g}{unit}: exactly right.")
    side = "high" if yours > truth else "low"
    if truth == 0:
        how = f"{gap:.4g}{unit} too {side}"
    elif abs(yours / truth) > 2:
        how = f"{abs(yours / truth):.0f} times as much"
    else:
        how = f"{100 * gap / abs(truth):.0f} % too {side}"
    return Verdict(True, gap, f"You said {yours:.4g}{unit}, it is {truth:.4g}{unit}: {how}.")


def answer(yours: Any, expected: ArrayLike, atol: float = 0.0, hint: str = "") -> Verdict:
    """Compare an answer with the expected one: max |yours − expected| ≤ atol, any shape that matches.

    `None` (the unfilled exercise) and a wrong shape do not pass; the text says how far off the answer is.

    >>> answer(118, 128, hint="Z = round(qmin − rmin/S)")
    Not yet: off by 10. Hint: Z = round(qmin − rmin/S)
    >>> answer([1, 2], [1, 2])
    Right.
    """
    hint = f" Hint: {hint}" if hint else ""
    if yours is None or yours is ...:
        return Verdict(False, float("inf"), "Not tried yet: replace the `...` above." + hint)
    a, b = np.asarray(yours, float), np.asarray(expected, float)
    if a.shape != b.shape:
        return Verdict(False, float("inf"), f"Not yet: your shape is {a.shape}, expected {b.shape}.{hint}")
    distance = float(np.max(np.abs(a - b), initial=0.0))
    if distance <= atol:
        return Verdict(True, distance, "Right." if distance == 0 else f"Right, within {distance:.3g}.")
    return Verdict(False, distance, f"Not yet: off by {distance:.4g}.{hint}")
