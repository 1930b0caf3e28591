"""One picture, one claim: functions that return a Matplotlib Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from . import vision

# Okabe & Ito (2008), told apart with every common colour vision deficiency.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#666666",
)  # fmt: skip


def _figure(rows: int = 1, cols: int = 1, height: float = 3.6, **kw):
    """A figure at notebook width (8 in), closed so that only the cell's last value shows it."""
    fig, axes = plt.subplots(rows, cols, figsize=(8, height), layout="constrained", **kw)
    plt.close(fig)
    return fig, axes


def save(fig: Figure, path) -> None:
    """Write `fig` as a PNG at the size it has in a notebook."""
    fig.savefig(path, dpi=100)


def detections(picture, results: dict, names: dict, conf: float = 0.25) -> Figure:
    """One picture, once per model, with its boxes; the claim counts how many of the first model's boxes the last finds.

    `results` is {title: (xyxy px, scores, classes)}, as `vision.Detector.detect` gives them.
    """
    image = vision.open_picture(picture)
    shown = {t: tuple(part[r[1] >= conf] for part in r) for t, r in results.items()}
    fig, axes = _figure(1, len(shown), height=8 / len(shown) * image.height / image.width + 0.7, squeeze=False)
    halo = [patheffects.withStroke(linewidth=3, foreground="black")]
    for ax, (title, (xyxy, scores, classes)) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(image)
        ax.set_axis_off()
        ax.set_title(f"{title}: {len(xyxy)} boxes", fontsize=10)
        for (x0, y0, x1, y1), score, c in zip(xyxy, scores, classes, strict=True):
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=ORANGE, lw=1.5, path_effects=halo))
            text = f"{names.get(int(c), c)} {score:.2f}"
            ax.text(x0, max(y0 - 3, 8), text, color="white", fontsize=8, va="bottom", clip_on=True, path_effects=halo)
    first, last = next(iter(shown)), next(reversed(shown))
    found = len(vision.match(shown[first], shown[last]))
    fig.suptitle(f"{last} finds {found} of the {len(shown[first][0])} boxes of {first}", fontsize=11)
    return fig


def table(rows: dict[str, dict[str, float]]) -> Figure:
    """AP of several models as bars with their values: {"FP32 CPU": {"AP50-95": 0.8, "AP50": 0.9}, …}."""
    fig, ax = _figure(height=0.6 + 0.45 * len(rows))
    values = [row["AP50-95"] for row in rows.values()]
    ax.barh(list(rows), values, color=[BLUE, *[ORANGE] * (len(rows) - 1)])
    for y, row in enumerate(rows.values()):
        ax.text(row["AP50-95"] + 0.01, y, f"{row['AP50-95']:.3f}   (AP50 {row['AP50']:.3f})", va="center", fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.25)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_xlabel("AP50-95 (1 is perfect)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"INT8 stays within {max(values[0] - v for v in values):.3f} AP of FP32", fontsize=11)
    return fig


def ranges(h, bands: dict[str, tuple[float, float]], title: str, symlog: bool = False) -> Figure:
    """A `calibrate.Histogram` with the range of each method as a bar below it; `symlog` for far outliers."""
    fig, (top, bottom) = _figure(2, height=3 + 0.3 * len(bands), sharex=True, height_ratios=[2.5, 0.3 * len(bands)])
    top.stairs(h.counts, h.edges, fill=True, fc=GREY, ec=GREY, lw=1)  # the edge keeps a lone thin bin visible
    top.set(yscale="log", ylabel="values per bin", title=title)
    top.set_ylim(bottom=0.5)
    colours = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY]
    for row, (low, high) in enumerate(bands.values()):
        bottom.barh(row, high - low, left=low, height=0.7, color=colours[row % 6])
        bottom.annotate(f"{high:.4g}", (high, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
    bottom.set_yticks(range(len(bands)), bands)
    bottom.invert_yaxis()
    bottom.set(xlabel="value of the activation", xscale="symlog" if symlog else "linear")
    top.margins(x=0.08)  # room for the labels
    return fig
