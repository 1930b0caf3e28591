"""The staircase under your hand, as SVG: a few kilobytes a step, and the page's own colours."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as w
import numpy as np

from helpers import plot
from helpers.affine import QParams, choose_qparams, qrange
from helpers.plot import BLUE, ORANGE, RED, SKY
from helpers.widgets.figure import InteractiveFigure

REACH = 8.0  # the reals that are shown, −8 … 8
WIDE, LEFT, UPPER, LOWER = 760, 56, 24, 306  # px: the panels' width, left edge and upper edges


def staircase(low: float = -1.0, high: float = 3.0, dtype: str = "uint4") -> InteractiveFigure:
    """The live staircase: drag the ends of the range or change the dtype, and see codes and error follow.

    >>> "0 is code 4, exactly" in staircase().picture.value
    True
    """
    ends = w.FloatRangeSlider(value=(low, high), min=-REACH, max=REACH, step=0.05, description="range")
    kind = w.Dropdown(options=["uint8", "int8", "uint4", "int4"], value=dtype, description="dtype")
    hint = "Make the range wider than the data, then narrower: what becomes of the error?"

    def qparams(ends: tuple[float, float], dtype: str) -> QParams:
        return choose_qparams(ends[0], ends[1], dtype)

    return InteractiveFigure(
        hint,
        lambda *values: _svg(qparams(*values)),
        [ends, kind],
        lambda *values: plot.staircase(qparams(*values), -REACH, REACH),
    )


def _svg(qp: QParams) -> str:
    """Two panels over −REACH … REACH: what a number becomes, and by how much that is wrong."""
    qmin, qmax = qrange(qp.dtype)
    half = float(qp.scale) / 2
    values = qp.scale * (np.arange(qmin, qmax + 1) - float(qp.zero_point))
    starts, ends = values - half, values + half  # of each step
    first, last = starts[0], ends[-1]
    starts[0], ends[-1] = min(-REACH, first), max(REACH, last)
    x, y = np.stack([starts, ends], 1).ravel(), np.repeat(values, 2)
    clipped = _band(-REACH, first, ORANGE) + _band(last, REACH, ORANGE)
    stairs = clipped + _line([-REACH, REACH], [-REACH, REACH], "#808080", 1) + _line(x, y, BLUE, 2)
    error = clipped + f'<rect x="-8" y="{-half}" width="16" height="{2 * half}" fill="{SKY}" opacity="0.3"/>'
    said = (
        (LEFT, 14, f"Inside the range the error is half a step at most, {half:.4g}"),
        (LEFT + 500, 14, f"S = {qp.scale:.4g}, Z = {qp.zero_point}, codes {qmin} … {qmax}"),
        (LEFT + 8, UPPER + 18, f"● 0 is code {qp.zero_point}, exactly; shaded: clipped"),
        (LEFT + 8, LOWER + 18, "error, and half a step, ±S/2"),
    )
    text = "".join(f'<text x="{left}" y="{top}">{words}</text>' for left, top, words in said)
    for v in range(-8, 9, 2):
        at = LEFT + WIDE / 2 * (1 + v / REACH)
        text += f'<text x="{at}" y="{LOWER + 128}" text-anchor="middle">{v}</text>'
    zero = f'<circle cx="{LEFT + WIDE / 2}" cy="{UPPER + 130}" r="4" fill="{RED}"/>'
    panels = _panel(UPPER, 260, REACH, stairs) + _panel(LOWER, 110, 3 * half, error + _line(x, y - x, BLUE, 1.2))
    size = f'viewBox="0 0 {LEFT + WIDE + 10} {LOWER + 134}" width="{LEFT + WIDE + 10}"'
    label = f'role="img" aria-label="staircase and error of {qp.dtype}"'
    return f'<svg {size} fill="currentColor" {label}>{panels}{zero}{text}</svg>'


def _panel(top: int, tall: int, most: float, inner: str) -> str:
    """One panel at `top`, `tall` px, in its own units: y upwards from −most to most; its ticks to the left."""
    scale = f"scale({WIDE / (2 * REACH)} {-tall / (2 * most)})"
    frame = f'<rect width="{WIDE}" height="{tall}" fill="none" stroke="currentColor"/>'
    drawn = f'<g transform="translate({WIDE / 2} {tall / 2}) {scale}">{inner}</g>{frame}'
    ticks = ((most * share, top + tall / 2 * (1 - share)) for share in (-0.5, 0, 0.5))
    text = "".join(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{v:.3g}</text>' for v, y in ticks)
    return f'<svg x="{LEFT}" y="{top}" width="{WIDE}" height="{tall}">{drawn}</svg>{text}'


def _line(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, colour: str, width: float) -> str:
    points = " ".join(f"{a:.5g},{b:.5g}" for a, b in zip(x, y, strict=True))
    style = f'fill="none" stroke="{colour}" stroke-width="{width}" vector-effect="non-scaling-stroke"'
    return f'<polyline points="{points}" {style}/>'


def _band(x0: float, x1: float, colour: str) -> str:
    """The full height of a panel from x0 to x1, nothing where x1 lies before."""
    size = f'x="{x0:.5g}" y="-100" width="{max(x1 - x0, 0):.5g}" height="200"'
    return f'<rect {size} fill="{colour}" opacity="0.25"/>'
