"""Pictures of one tensor: its range, its staircase, its channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from helpers import calibrate
from helpers.affine import QParams, choose_qparams, fake_quantize, qrange
from helpers.calibrate import Histogram
from helpers.plot.style import BLUE, GREY, LITERAL, ORANGE, RED, SKY, new_figure


def method_colour(name: str) -> str:
    """The colour of a calibration method in every picture and widget; grey for a range that no method gave.

    >>> method_colour("by hand")
    '#666666'
    """
    method = calibrate.METHODS.get(name)
    return method.colour if method else GREY


def ranges(h: Histogram, bands: Mapping[str, tuple[float, float]], title: str, symlog: bool = False) -> Figure:
    """A histogram with the range of each method as a bar below it; `symlog` for far outliers."""
    fig, (top, bottom) = new_figure(2, height=3 + 0.3 * len(bands), sharex=True, height_ratios=[2.5, 0.3 * len(bands)])
    top.stairs(h.counts, h.edges, fill=True, fc=GREY, ec=GREY, lw=1)  # the edge keeps a lone thin bin visible
    top.set(yscale="log", ylabel="values per bin", title=title)
    top.set_ylim(bottom=0.5)
    for row, (name, (low, high)) in enumerate(bands.items()):
        bottom.barh(row, high - low, left=low, height=0.7, color=method_colour(name))
        bottom.annotate(f"{high:.4g}", (high, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
    bottom.set_yticks(range(len(bands)), bands)
    bottom.invert_yaxis()
    bottom.set(xlabel="value of the activation", xscale="symlog" if symlog else "linear")
    top.margins(x=0.08)  # room for the labels
    return fig


def staircase(qp: QParams, low: float, high: float) -> Figure:
    """What a number becomes under one scale and zero point: the staircase, and its sawtooth error below."""
    x = np.linspace(low, high, 4001, dtype=np.float32)
    y = fake_quantize(x, qp)
    first, last = (qp.scale * (code - qp.zero_point) for code in qrange(qp.dtype))
    fig, (top, bottom) = new_figure(2, height=5, sharex=True, height_ratios=[2, 1])
    top.plot(x, x, color=GREY, lw=1, ls="--")
    top.plot(x, y, color=BLUE, lw=1.8)
    top.plot(0, 0, "o", color=RED, ms=5, label=f"0 is code {qp.zero_point}, exactly")
    bottom.plot(x, y - x, color=BLUE, lw=1)
    half = qp.scale / 2
    bottom.axhspan(-half, half, color=SKY, alpha=0.3, lw=0, label="half a step, ±S/2")
    clipped = [(a, b) for a, b in ((low, first - half), (last + half, high)) if a < b]
    for ax in (top, bottom):
        for k, (a, b) in enumerate(clipped):
            ax.axvspan(a, b, color=ORANGE, alpha=0.25, lw=0, label="clipped" if ax is top and not k else None)
        ax.legend(loc="upper left", fontsize=9, frameon=False)
        ax.grid(alpha=0.25)
    bottom.set_ylim(-3 * half, 3 * half)
    top.set(
        xlim=(low, high), ylabel="S·(q − Z)", title=f"Inside the range the error is half a step at most, {half:.4g}"
    )
    bottom.set(xlabel="x, the real number", ylabel="error")
    return fig


def tradeoff(h: Histogram, dtype: str = "uint8", symmetric: bool = False) -> Figure:
    """Clipping and rounding error of a histogram against the upper end of its range, and their sum.

    The lower end stays at the smallest value; `symmetric` moves it too, as −end with Z = 0: how weights are quantized.
    """
    low, high = calibrate.minmax(h)
    high = max(-low, high) if symmetric else high
    ends = np.geomspace(high / 100, high, 200)
    qp = choose_qparams(-ends if symmetric else np.full_like(ends, low), ends, dtype, symmetric, axis=0)
    clipping, rounding = calibrate.expected_error(h, qp)
    total = clipping + rounding
    best = int(np.argmin(total))
    fig, ax = new_figure(height=4)
    for values, colour, style, name in ((clipping, ORANGE, "--", "clipping"), (rounding, BLUE, "-.", "rounding")):
        seen = values > total[best] / 30
        ax.plot(ends[seen], values[seen], color=colour, ls=style, lw=2)
        k = int(np.argmax(seen)) if name == "clipping" else len(ends) - 1
        ax.annotate(name, (ends[k], values[k]), (6, -14 if name == "clipping" else 0), textcoords="offset points",
                    color=colour, fontsize=10)  # fmt: skip
    ax.plot(ends, total, color="black", lw=1.2)
    ax.plot(ends[best], total[best], "o", color=RED)
    ax.annotate(
        f"least at {ends[best]:.3g}", (ends[best], total[best]), (0, 14), textcoords="offset points", ha="center"
    )
    ax.set(xscale="log", yscale="log", xlabel="upper end of the range", ylabel="mean squared error")
    ax.set_ylim(total[best] / 30, total.max() * 2)
    ax.set_xlim(ends[0], high * 2.2)
    ax.grid(alpha=0.25, which="both")
    ax.set_title(f"{dtype}: a wider range clips less and rounds more; the sum has one best end", fontsize=11)
    return fig


def channels(weight: np.ndarray, name: str, qmax: int = 127) -> Figure:
    """The largest weight of every output channel (axis 0), sorted, against the one step that they would share.

    `qmax` is the largest code: 127 in 8 bits, 7 in 4.
    """
    top = np.sort(np.abs(weight).reshape(len(weight), -1).max(1))[::-1]
    step = top[0] / qmax
    fig, ax = new_figure(height=3.6)
    ax.bar(range(len(top)), top, color=BLUE, width=1.0, ec="white", lw=0.3)
    ax.axhline(step, color=RED, lw=2, label=f"one shared step: {step:.3g}")
    ax.legend(loc="upper right", frameon=False)
    ax.set(yscale="log", xlabel="output channel, largest first", ylabel="largest |weight|")
    ax.set_title(
        f"The smallest channel of {name} reaches code {np.rint(top[-1] / step):.0f} of {qmax}", fontsize=11, **LITERAL
    )
    return fig


def range_convergence(
    running: Sequence[Histogram], methods: Mapping[str, Callable[[Histogram], tuple[float, float]]]
) -> Figure:
    """The upper end that each method reads from the first 1, 2, … images: `running` holds their summed histograms.

    `methods` are {name: histogram → (rmin, rmax)}, such as `calibrate.METHODS`.
    """
    fig, ax = new_figure(height=3.6)
    half, moved = len(running) // 2, []
    for (name, method), style in zip(methods.items(), cycle(["-", "--", "-.", ":"])):
        if name == "moving_average":
            continue  # it reads the order of feeds, which a sum of single images lacks
        ends = [method(h)[1] for h in running]
        ax.plot(range(1, len(ends) + 1), ends, color=method_colour(name), ls=style, lw=2, label=name)
        if half:
            moved.append(f"{name} {100 * (ends[-1] / ends[half - 1] - 1):+.0f} %")
    ax.set(xlabel="pictures", ylabel="upper end of the range", ylim=(0, None))
    title = "How the upper end settles" if not half else f"From {half} to {len(running)} pictures: {', '.join(moved)}"
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False, ncols=3, loc="lower right")
    ax.grid(alpha=0.25)
    return fig
