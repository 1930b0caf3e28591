"""Pictures of detections: boxes on the image, and what became of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers import assets
from helpers.boxes import Detections, above, match
from helpers.graph import StrPath
from helpers.plot.style import BLUE, GREEN, GREY, LITERAL, ORANGE, RED, SKY, new_figure


_LEGIBLE = 20  # boxes of one image that are named; more names would hide each other


def detections(
    image: StrPath | Image.Image, results: Mapping[str, Detections], names: Mapping[int, str], conf: float = 0.25
) -> Figure:
    """One image, once per model, with its boxes; the claim counts how many of the first model's boxes the last finds.

    `results` is {title: (xyxy px, scores, classes)}, as `tasks.Detector.detect` gives them; those from `conf` on are
    drawn. `names` are those of the classes.
    """
    opened = assets.open_image(image)
    shown = {t: (xyxy[s >= conf], s[s >= conf], c[s >= conf]) for t, (xyxy, s, c) in results.items()}
    fig, axes = new_figure(1, len(shown), height=8 / len(shown) * opened.height / opened.width + 0.7, squeeze=False)
    halo = [patheffects.withStroke(linewidth=3, foreground="black")]
    write = _WRITE | {"va": "bottom", "path_effects": halo}
    for ax, (title, (xyxy, scores, classes)) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(opened)
        ax.set_axis_off()
        ax.set_title(f"{title}: {len(xyxy)} boxes", fontsize=10, **LITERAL)
        _draw_boxes(ax, xyxy, ORANGE, lw=1.5, path_effects=halo)
        for (x0, y0, *_), score, c in zip(xyxy, scores, classes, strict=True):
            if len(xyxy) <= _LEGIBLE:
                ax.text(x0, max(y0 - 3, 8), f"{names.get(int(c), c)} {score:.2f}", color="white", **write)
    first, last = next(iter(shown)), next(reversed(shown))
    found = len(match(shown[first], shown[last]))
    fig.suptitle(f"{last} finds {found} of the {len(shown[first][0])} boxes of {first}", fontsize=11, **LITERAL)
    return fig


def scores(reference: np.ndarray, others: Mapping[str, np.ndarray], title: str) -> Figure:
    """Scores of quantized models against FP32's, a dot for each class and place above 0.05; the diagonal is no change.

    `reference` and the values of `others` are arrays as `tasks.class_scores` gives them.
    """
    fig, ax = new_figure(height=4.2)
    seen = reference > 0.05
    ax.axline((0, 0), slope=1, color=GREY, lw=1, ls="--")
    for (name, values), colour, marker in zip(others.items(), (RED, BLUE, GREEN), "xo^", strict=False):
        ax.scatter(reference[seen], values[seen], s=18, color=colour, marker=marker, lw=1, label=name, alpha=0.7)
    ax.set(xlim=(0, 1), ylim=(-0.04, 1), xlabel="FP32 score", ylabel="INT8 score", title=title)
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    return fig


def overlay(
    image: StrPath | Image.Image, reference: Detections, test: Detections, names: Mapping[int, str], conf: float = 0.25
) -> Figure:
    """One image with both detectors' boxes above `conf`: the test's dashed over the reference's."""
    opened = assets.open_image(image)
    a, b = above(reference, conf), above(test, conf)
    fig, ax = new_figure(height=min(3.9, 8 * opened.height / opened.width) + 0.4)
    ax.imshow(opened)
    ax.set_axis_off()
    partner = dict(match(a, b))
    _draw_boxes(ax, a[0], SKY, lw=2, ls="-", path_effects=_HALO)
    for i, (box, score, c) in enumerate(zip(*a, strict=True)):
        name = names.get(int(c), c)
        if i in partner:
            x, align = _anchor(ax, box)
            text = f"{name} {score:.2f} → {b[1][partner[i]]:.2f}"
            ax.text(x, max(box[1] - 3, 9), text, color="white", **_WRITE, **align)
        else:
            _write_below(ax, box, f"{name} {score:.2f}, FP32 only")
    _draw_boxes(ax, b[0], ORANGE, lw=2, ls="--")
    for j, (box, score, c) in enumerate(zip(*b, strict=True)):
        if j not in partner.values():
            _write_below(ax, box, f"{names.get(int(c), c)} {score:.2f}, INT8 only")
    both = f"{len(partner)} in both"
    ax.set_title(f"{len(a[1])} boxes of FP32 (solid), {len(b[1])} of INT8 (dashed): {both}", fontsize=11)
    return fig


_HALO = [patheffects.withStroke(linewidth=4, foreground="black")]
_WRITE: dict[str, Any] = {"fontsize": 8, "clip_on": True, "path_effects": _HALO} | LITERAL


def _draw_boxes(ax: Axes, xyxy: np.ndarray, colour: str, **line: Any) -> None:
    for x0, y0, x1, y1 in xyxy:
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, **line))


def _anchor(ax: Axes, box: np.ndarray) -> tuple[float, dict[str, Any]]:
    """Where a text at a box starts, or ends where the image's edge would cut it."""
    x0, _, x1, _ = box
    width = ax.get_images()[0].get_size()[1]
    return (x1, {"ha": "right"}) if x0 > 0.7 * width else (x0, {})


def _write_below(ax: Axes, box: np.ndarray, text: str) -> None:
    x, align = _anchor(ax, box)
    where: dict[str, Any] = {"xytext": (0, -11), "textcoords": "offset points", "color": ORANGE, "zorder": 9}
    ax.annotate(text, (x, box[3]), **where, **_WRITE, **align)


def box_shift(boxes: Mapping[str, np.ndarray]) -> Figure:
    """Distributions over matched boxes, from `boxes.paired_boxes`: IoU drift, and the change of score."""
    fig, (left, right) = new_figure(1, 2, height=3.4, sharey=True)
    for ax, values, label in (
        (left, boxes["iou_drift"], "IoU drift, 1 − IoU"),
        (right, boxes["jitter"], "score of INT8 − score of FP32"),
    ):
        low, high = (0, np.quantile(values, 0.99)) if ax is left else np.quantile(values, [0.005, 0.995])
        ax.hist(np.clip(values, low, high), bins=40, color=BLUE)
        middle = float(np.median(values))
        ax.axvline(middle, color=RED, lw=2, label=f"median {middle:.3g}")
        ax.set_xlabel(label)
        ax.legend(frameon=False)
        ax.grid(alpha=0.25)
    left.set_ylabel("matched boxes")
    fig.suptitle("Boxes stay nearly where they were; scores move both ways (ends: or more)", fontsize=11)
    return fig


def threshold_crossings(score: np.ndarray, jitter: np.ndarray, usual: float = 0.25) -> Figure:
    """Boxes of FP32 that a threshold loses, and wins, through INT8 alone, for each threshold; `usual` is marked."""
    at = np.linspace(0.1, 0.95, 171)[:, None]
    before, after = score > at, score + jitter > at
    fig, ax = new_figure(height=3.6)
    ax.fill_between(
        at[:, 0], (before & ~after).sum(1), color=ORANGE, step="mid", label="FP32 shows them, INT8 does not"
    )
    ax.fill_between(at[:, 0], -(after & ~before).sum(1), color=BLUE, step="mid", label="INT8 shows them, FP32 does not")
    ax.axhline(0, color="black", lw=0.8)
    ax.axvline(usual, color=GREY, lw=1.5, ls="--")
    crossed = int(((score > usual) != (score + jitter > usual)).sum())
    ax.set(xlabel="threshold on the score", ylabel="boxes that change sides")
    ax.set_title(f"INT8 moves {crossed} of {len(score)} boxes across a threshold of {usual:g}", fontsize=11)
    ax.yaxis.set_major_formatter(lambda y, _: f"{abs(y):.0f}")
    ax.legend(frameon=False, fontsize=9)
    ax.grid(alpha=0.25)
    return fig


def side_bins(reference: np.ndarray, test: np.ndarray) -> Figure:
    """One side of a box: the error of each of its logits, and the share that each bin has in it.

    Both hold the logits of one side, FP32's and INT8's; the side is Σ i·softmax(logits)ᵢ bins.
    """
    fig, (left, right) = new_figure(1, 2, height=3.2)
    at = np.arange(len(reference))
    shares = [np.exp(each - each.max()) / np.exp(each - each.max()).sum() for each in (reference, test)]
    left.bar(at, test - reference, color=ORANGE)
    left.axhline(0, color="black", lw=0.8)
    for offset, share, name, colour in zip((-0.2, 0.2), shares, ("FP32", "INT8"), (SKY, ORANGE), strict=True):
        right.bar(at + offset, share, 0.4, color=colour, label=name)
    left.set(xlabel="bin", ylabel="logit of INT8 − logit of FP32")
    right.set(xlabel="bin", ylabel="share of the bin in the side", ylim=(0, 1))
    right.legend(frameon=False)
    most, moved = np.abs(test - reference).max(), abs(float((shares[1] - shares[0]) @ at))
    fig.suptitle(f"A logit is off by up to {most:.2g}, the side by {moved:.2g} bins", fontsize=11)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.25)
    return fig
