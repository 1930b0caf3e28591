"""Pictures of what accuracy was lost and what won it back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from helpers.boxes import Interval
from helpers.plot.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, new_figure


def ap_bars(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """AP of several models as bars with their values, FP32 first: {"FP32 CPU": {"AP50-95": 0.8, "AP50": 0.9}, …}."""
    fig, ax = new_figure(height=0.6 + 0.45 * len(rows))
    values = [row["AP50-95"] for row in rows.values()]
    ax.barh(list(rows), values, color=[BLUE if k == 0 else ORANGE for k in range(len(rows))])
    for y, row in enumerate(rows.values()):
        ax.text(row["AP50-95"] + 0.01, y, f"{row['AP50-95']:.3f}   (AP50 {row['AP50']:.3f})", va="center", fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.25)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_xlabel("AP50-95 (1 is perfect)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"INT8 stays within {max(values[0] - v for v in values):.3f} AP of FP32", fontsize=11)
    return fig


def intervals(panels: Mapping[str, Mapping[str, Interval]], title: str) -> Figure:
    """Values with their 95 % intervals, a panel for each {quantity: {method: `boxes.Interval`}}."""
    rows = list(next(iter(panels.values())))
    fig, axes = new_figure(1, len(panels), height=1.4 + 0.45 * len(rows), sharey=True, squeeze=False)
    for ax, (quantity, found) in zip(axes[0], panels.items(), strict=True):
        for y, (value, low, high) in enumerate(found.values()):
            ax.plot([low, high], [y, y], color=BLUE, lw=3, solid_capstyle="butt")
            ax.plot(value, y, "o", color=RED, ms=6)
            ax.annotate(f"{value:.4f}", (value, y), (0, 7), textcoords="offset points", ha="center", fontsize=9)
        ax.axvline(0, color=GREY, lw=1, ls="--")
        ax.set_xlabel(quantity)
        ax.set_ylim(len(rows) - 0.5, -0.6)
        ax.grid(alpha=0.25, axis="x")
        ax.locator_params(axis="x", nbins=4)
    axes[0, 0].set_yticks(range(len(rows)), rows)
    fig.suptitle(title, fontsize=11)
    return fig


DRIFTS = {"score": "scores: mean |change|", "box": "boxes: mean 1 − IoU"}


def recipe_steps(steps: Sequence[Mapping[str, Any]], parts: Mapping[str, str] = DRIFTS) -> Figure:
    """What each step of `repair.quantize_best` left of the drift, its `parts` {key: words} stacked; the least is kept.

    >>> steps = [{"step": "a", "score": 0.2, "box": 0.1}, {"step": "b", "score": 0.1, "box": 0.1}]
    >>> recipe_steps(steps).get_suptitle()
    'The best step leaves 67 % of the drift'
    """
    fig, ax = new_figure(height=1.0 + 0.42 * len(steps))
    y, total = np.arange(len(steps)), np.zeros(len(steps))
    for (key, words), colour in zip(parts.items(), (BLUE, ORANGE, GREEN, RED), strict=False):
        size = np.array([step[key] for step in steps])
        ax.barh(y, size, 0.6, left=total, color=colour, label=words)
        total = total + size
    for k, end in enumerate(total):
        ax.text(end, k, f" {end:.3f}", va="center", fontsize=9)
    ax.set_yticks(y, [step["step"] for step in steps])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * total.max() or 1)
    ax.set_xlabel("drift from FP32 where it sees something, before any threshold")
    fig.legend(frameon=False, fontsize=9, loc="outside lower right", ncols=2)
    left = total.min() / total[0] if total[0] else 1.0
    fig.suptitle(f"The best step leaves {100 * left:.0f} % of the drift", fontsize=11)
    return fig


def pareto_front(
    points: Sequence[Mapping[str, Any]], tensors: int, marks: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """The Pareto front of `repair.search_a16` and other recipes' marks: AP lost against the share of 16-bit tensors.

    `points` are [{"a16": number, "ap_drop": `boxes.Interval`}], `tensors` is how many there are, `marks` are
    {recipe: (share of tensors at 16 bits, AP lost)}.
    """
    fig, ax = new_figure(height=4.2)
    share = [100 * p["a16"] / tensors for p in points]
    lost = np.array([p["ap_drop"] for p in points])
    ax.fill_between(share, lost[:, 1], lost[:, 2], color=BLUE, alpha=0.15, label="95 % interval")
    ax.plot(share, lost[:, 0], "o-", color=BLUE, label="measured here, step by step")
    for k, (name, (x, y)) in enumerate(marks.items()):
        colour, marker = (ORANGE, RED, GREEN, GREY)[k % 4], "Dsv^Pp*X"[k % 8]
        ax.plot(100 * x, y, marker, color=colour, ms=8, label=name)
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xscale("symlog", linthresh=10, linscale=1.5)
    ax.set_xlim(-0.4, 130)
    ax.set_xticks([0, 2, 4, 6, 8, 10, 20, 50, 100], ["0", "2", "4", "6", "8", "10", "20", "50", "100"])
    ax.set(xlabel="activation tensors at 16 bits, %", ylabel="AP50-95 lost against FP32", title=title)
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    ax.grid(alpha=0.25)
    return fig


def output_error(reference: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]) -> Figure:
    """A model's outputs before and after quantization, and the error element by element, in shares of the largest size.

    >>> one = {"y": np.float32([1, 2, 4])}
    >>> [ax.get_ylabel() for ax in output_error(one, {"y": np.float32([1, 2, 3])}).axes]
    ['quantized, same unit', 'error, % of the largest']
    """
    fig, (left, right) = new_figure(1, 2, height=4.2, width_ratios=[1, 1.2])
    start = 0
    for (name, a), colour in zip(reference.items(), cycle([BLUE, ORANGE, GREEN, RED, PURPLE, SKY])):
        x, y = np.asarray(a, float).ravel(), np.asarray(test[name], float).ravel()
        top = max(np.abs(x).max(initial=0), 1e-30)
        some = np.arange(0, x.size, math.ceil(x.size / 4000) or 1)  # at most 4000 dots an output
        style: dict[str, Any] = {"ms": 3 if x.size > 100 else 7, "color": colour, "alpha": 0.6}
        left.plot(x[some] / top, y[some] / top, ".", label=name, **style)
        right.plot(start + some, 100 * (y - x)[some] / top, ".", **style)
        start += x.size
    left.axline((0, 0), slope=1, color=GREY, lw=1)
    right.axhline(0, color=GREY, lw=1)
    left.set(xlabel="FP32, of the largest", ylabel="quantized, same unit")
    left.set_title("On the line nothing was lost", fontsize=11)
    right.set(xlabel="element", ylabel="error, % of the largest")
    right.locator_params(axis="x", integer=True)
    left.legend(frameon=False, fontsize=8)
    return fig
