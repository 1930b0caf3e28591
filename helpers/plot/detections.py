"""Pictures of detections: boxes on the image, and what became of their scores."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers import assets, boxes
from helpers.plot.style import BLUE, GREEN, GREY, LITERAL, ORANGE, PURPLE, RED, SKY, new_figure


def detections(picture, results: dict, names: dict, conf: float = 0.25) -> Figure:
    """One picture, once per model, with its boxes; the claim counts how many of the first model's boxes the last finds.

    `results` is {title: (xyxy px, scores, classes)}, as `tasks.Detector.detect` gives them.
    """
    image = assets.open_image(picture)
    shown = {t: tuple(part[r[1] >= conf] for part in r) for t, r in results.items()}
    fig, axes = new_figure(1, len(shown), height=8 / len(shown) * image.height / image.width + 0.7, squeeze=False)
    halo = [patheffects.withStroke(linewidth=3, foreground="black")]
    for ax, (title, (xyxy, scores, classes)) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(image)
        ax.set_axis_off()
        ax.set_title(f"{title}: {len(xyxy)} boxes", fontsize=10, **LITERAL)
        for (x0, y0, x1, y1), score, c in zip(xyxy, scores, classes, strict=True):
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=ORANGE, lw=1.5, path_effects=halo))
            text = f"{names.get(int(c), c)} {score:.2f}"
            ax.text(
                x0,
                max(y0 - 3, 8),
                text,
                color="white",
                fontsize=8,
                va="bottom",
                clip_on=True,
                path_effects=halo,
                **LITERAL,
            )
    first, last = next(iter(shown)), next(reversed(shown))
    found = len(boxes.match(shown[first], shown[last]))
    fig.suptitle(f"{last} finds {found} of the {len(shown[first][0])} boxes of {first}", fontsize=11, **LITERAL)
    return fig


def scores(reference, others: dict, title: str) -> Figure:
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


def overlay(picture, reference, test, names: dict, conf: float = 0.25) -> Figure:
    """One picture with both detectors' boxes above `conf`: the test's dashed over the reference's."""
    image = assets.open_image(picture)
    a, b = (tuple(part[r[1] > conf] for part in r) for r in (reference, test))
    fig, ax = new_figure(height=min(3.9, 8 * image.height / image.width) + 0.4)
    ax.imshow(image)
    ax.set_axis_off()
    halo = [patheffects.withStroke(linewidth=4, foreground="black")]
    found = dict(boxes.match(a, b))
    for (xyxy, scores, classes), colour, style, partner in (
        (a, SKY, "-", found),
        (b, ORANGE, "--", {j: i for i, j in found.items()}),
    ):
        for k, (x0, y0, x1, y1) in enumerate(xyxy):
            effects = halo if style == "-" else None
            box = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=2, ls=style, path_effects=effects)
            ax.add_patch(box)
            name = names.get(int(classes[k]), classes[k])
            write = {"fontsize": 8, "clip_on": True, "path_effects": halo} | LITERAL
            if x0 > 0.7 * image.width:  # or the picture's edge would cut the text
                x0, write = x1, write | {"ha": "right"}
            if k not in partner:
                only = "FP32" if style == "-" else "INT8"
                ax.annotate(
                    f"{name} {scores[k]:.2f}, {only} only",
                    (x0, y1),
                    (0, -11),
                    color=ORANGE,
                    zorder=9,
                    textcoords="offset points",
                    **write,
                )
            elif style == "-":
                text = f"{name} {scores[k]:.2f} → {b[1][partner[k]]:.2f}"
                ax.text(x0, max(y0 - 3, 9), text, color="white", **write)
    ax.set_title(f"{len(a[1])} boxes of FP32 (solid), {len(b[1])} of INT8 (dashed): {len(found)} in both", fontsize=11)
    return fig


def box_shift(boxes: dict[str, np.ndarray]) -> Figure:
    """Distributions over matched boxes, from `paired.paired_boxes`: IoU drift, and the change of score."""
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


def threshold_crossings(score: np.ndarray, jitter: np.ndarray) -> Figure:
    """Boxes of FP32 that a threshold loses, and wins, through INT8 alone, for each threshold."""
    at = np.linspace(0.1, 0.95, 171)[:, None]
    before, after = score > at, score + jitter > at
    fig, ax = new_figure(height=3.6)
    ax.fill_between(
        at[:, 0], (before & ~after).sum(1), color=ORANGE, step="mid", label="FP32 shows them, INT8 does not"
    )
    ax.fill_between(at[:, 0], -(after & ~before).sum(1), color=BLUE, step="mid", label="INT8 shows them, FP32 does not")
    ax.axhline(0, color="black", lw=0.8)
    most = int((before != after).sum(1).max())
    ax.set(xlabel="threshold on the score", ylabel="boxes that change sides")
    ax.set_title(f"INT8 alone moves up to {most} of {len(score)} boxes across one threshold", fontsize=11)
    ax.yaxis.set_major_formatter(lambda y, _: f"{abs(y):.0f}")
    ax.legend(frameon=False, fontsize=9)
    ax.grid(alpha=0.25)
    return fig


def output_error(reference: dict, test: dict) -> Figure:
    """Each value of a model's outputs against its quantized twin, both divided by the output's largest size.

    >>> one = {"y": np.float32([1, 2, 4])}
    >>> output_error(one, {"y": np.float32([1, 2, 3])}).axes[0].get_xlabel()
    'FP32, share of the largest'
    """
    fig, ax = new_figure(height=4.2)
    for (name, a), colour in zip(reference.items(), cycle([BLUE, ORANGE, GREEN, RED, PURPLE, SKY])):
        x, y = np.asarray(a, float).ravel(), np.asarray(test[name], float).ravel()
        top, step = max(np.abs(x).max(initial=0), 1e-30), -(-x.size // 4000)
        ax.plot(x[::step] / top, y[::step] / top, ".", ms=3, color=colour, label=name, alpha=0.6)
    ax.axline((0, 0), slope=1, color=GREY, lw=1)
    ax.set(xlabel="FP32, share of the largest", ylabel="quantized, same unit")
    ax.set_title("On the line nothing was lost", fontsize=11)
    ax.legend(frameon=False, fontsize=8)
    return fig
