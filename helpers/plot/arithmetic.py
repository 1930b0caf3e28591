"""Pictures of integer arithmetic: a sum on its way to a code, steps of difference, accumulators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers.plot.style import BLUE, GREY, LITERAL, RED, SKY, new_figure, node_box


def lsb_histogram(differences: Mapping[str, ArrayLike], title: str) -> Figure:
    """How often two runs differ by how many steps of the output's scale: {title: integer array} as histograms."""
    fig, axes = new_figure(1, len(differences), height=3, sharey=True, squeeze=False)
    for ax, (name, diff) in zip(axes[0], differences.items(), strict=True):
        reach = 6
        shown = np.clip(np.asarray(diff).ravel(), -reach, reach)
        share = np.bincount(shown + reach, minlength=2 * reach + 1) / shown.size
        ax.bar(range(-reach, reach + 1), share, color=BLUE)
        ax.set(yscale="log", ylim=(1e-6, 2), xlabel="difference in steps (ends: or more)")
        ax.set_title(f"{name}: {100 * share[reach]:.1f} % equal", fontsize=10)
        ax.grid(alpha=0.25, axis="y")
    axes[0, 0].set_ylabel("share of all outputs")
    fig.suptitle(title, fontsize=11)
    return fig


def pipeline(stages: Mapping[str, str], title: str) -> Figure:
    """One output value on its way through the integer unit: {what is done: the number it leaves}, left to right."""
    fig, ax = new_figure(height=1.7)
    ax.set(xlim=(-0.5, len(stages) - 0.5), ylim=(-0.9, 0.8))
    ax.set_axis_off()
    ax.annotate("", (len(stages) - 0.6, 0), (-0.4, 0), arrowprops={"arrowstyle": "->", "color": GREY}, zorder=1)
    for k, (what, number) in enumerate(stages.items()):
        node_box(ax, k, 0, number, "#cce3f0" if k < len(stages) - 1 else "#fbe6bf", 0.84)
        ax.text(k, -0.42, what, fontsize=9, ha="center", va="top", color=GREY)
    ax.set_title(title, fontsize=11, **LITERAL)
    return fig


def near_half(real: np.ndarray, different: np.ndarray) -> Figure:
    """How far values are from a rounding border (…½), for all of them and for those that came out `different`."""
    distance = np.abs(real - np.floor(real) - 0.5)
    fig, ax = new_figure(height=3)
    bins = np.linspace(0, 0.5, 51)
    for values, colour, name in ((distance, SKY, "all outputs"), (distance[different], RED, "not what rounding gives")):
        ax.hist(values.ravel(), bins, color=colour, label=name)
    ax.set(yscale="log", xlabel="distance of Σ·M from the border between two codes, in codes", ylabel="outputs")
    ax.legend(framealpha=1, loc="center right")
    ax.set_title("The two disagree only where the value lies next to a border", fontsize=11)
    return fig


def accumulators(length: Mapping[str, int], bits: Mapping[str, float]) -> Figure:
    """Bits that a convolution's sum can need, sign included, against how many products it adds: both {layer: …}."""
    fig, ax = new_figure(height=3.2)
    ax.scatter(length.values(), [bits[name] for name in length], color=BLUE, s=22, zorder=3)
    for width in (16, 32):
        ax.axhline(width, color=RED if width == 16 else GREY, ls="--", lw=1)
        ax.text(max(length.values()), width - 0.4, f"int{width}", ha="right", va="top", color=GREY, fontsize=9)
    ax.set_xscale("log", base=2)
    ax.set(ylim=(14, 33), yticks=range(16, 33, 4), xlabel="products in one sum", ylabel="bits, worst case")
    ax.set_title("8-bit factors need sums far wider than 16 bits, and 32 are enough", fontsize=11)
    ax.grid(alpha=0.25)
    return fig
