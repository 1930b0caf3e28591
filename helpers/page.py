"""What was done to a model, on one page: each figure makes one claim, and a page stacks them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .plot import BLUE, GREEN, GREY, ORANGE, RED, _figure, save


def bought(steps: list[dict]) -> Figure:
    """What each step of `repair.best` left of the drift, scores and boxes stacked; the least one is what it kept.

    >>> bought([{"step": "a", "score": 0.2, "box": 0.1}, {"step": "b", "score": 0.1, "box": 0.1}])._suptitle.get_text()
    'The best step leaves 67 % of the drift'
    """
    fig, ax = _figure(height=1.0 + 0.42 * len(steps))
    score, box = (np.array([s[k] for s in steps]) for k in ("score", "box"))
    y = np.arange(len(steps))
    ax.barh(y, score, 0.6, color=BLUE, label="scores: mean |change|")
    ax.barh(y, box, 0.6, left=score, color=ORANGE, label="boxes: mean 1 − IoU")
    for k, total in enumerate(score + box):
        ax.text(total, k, f" {total:.3f}", va="center", fontsize=9)
    ax.set_yticks(y, [s["step"] for s in steps])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * (score + box).max())
    ax.set_xlabel("drift from FP32 where it sees something, before any threshold")
    fig.legend(frameon=False, fontsize=9, loc="outside lower right", ncols=2)
    left = (score + box).min() / (score[0] + box[0])
    fig.suptitle(f"The best step leaves {100 * left:.0f} % of the drift", fontsize=11)
    return fig


def front(points: list[dict], tensors: int, marks: dict[str, tuple[float, float]], title: str) -> Figure:
    """The Pareto front of `repair.search_a16` and other recipes' marks: AP lost against the share of 16-bit tensors.

    `points` are [{"a16": number, "ap_drop": `paired.Interval`}], `tensors` is how many there are, `marks` are
    {recipe: (share of tensors at 16 bits, AP lost)}.
    """
    fig, ax = _figure(height=4.2)
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


def stack(figures: list[Figure], out) -> Path:
    """Write figures under each other as one PNG, `out`; nothing is left half-written."""
    pictures = []
    for figure in figures:
        save(figure, buffer := io.BytesIO())
        pictures.append(Image.open(buffer).convert("RGB"))
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, ((sheet.width - picture.width) // 2, top))
        top += picture.height
    out = Path(out)
    half = out.with_name(f".{out.name}.half")
    sheet.save(half, "PNG", optimize=True)
    os.replace(half, out)
    return out
