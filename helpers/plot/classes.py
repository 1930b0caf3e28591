"""Pictures of classes: of a whole image, or of each of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from helpers.plot.style import BLUE, LITERAL, ORANGE, RED, new_figure

_BARS = 5


def class_bars(image: Image.Image | None, reference: np.ndarray, test: np.ndarray, names: Mapping[int, str]) -> Figure:
    """FP32's best classes with their probabilities in both models, beside the image, if there is one.

    `reference` and `test` are K long.

    >>> class_bars(None, np.array([0.9, 0.1]), np.array([0.2, 0.8]), {1: "star"}).axes[0].get_title()
    'INT8 turns 0 into star'
    """
    columns = 1 if image is None else 2
    fig, axes = new_figure(1, columns, height=3.2, squeeze=False, width_ratios=[1, 2][-columns:])
    if image is not None:
        axes[0, 0].imshow(image)
        axes[0, 0].set_axis_off()
    ax, best = axes[0, -1], int(test.argmax())
    shown = np.argsort(-reference, kind="stable")[:_BARS].tolist()
    shown += [best] if best not in shown else []
    at = np.arange(len(shown))
    ax.barh(at - 0.2, reference[shown], 0.38, color=BLUE, label="FP32")
    ax.barh(at + 0.2, test[shown], 0.38, color=ORANGE, label="INT8")
    ax.set_yticks(at, [str(names.get(c, c)) for c in shown], **LITERAL)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="probability")
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
    first = shown[0]
    name, other = names.get(first, first), names.get(best, best)
    claim = f"INT8 keeps {name}, {reference[first]:.2f} → {test[first]:.2f}"
    ax.set_title(claim if best == first else f"INT8 turns {name} into {other}", fontsize=11, **LITERAL)
    return fig


def masks(image: Image.Image | None, reference: np.ndarray, test: np.ndarray, iou: float) -> Figure:
    """Both models' classes of each pixel, H×W, and in red where they differ; `iou` is their mean IoU.

    >>> same = np.zeros((4, 4), np.uint8)
    >>> masks(None, same, same, 1.0).get_suptitle()
    '100.00 % of the pixels keep their class; mean IoU 1.000'
    """
    colours = matplotlib.colormaps["tab20"].resampled(20)
    panels: list[tuple[str, Any]] = [] if image is None else [("picture", image)]
    panels += [(name, colours(mask % 20)) for name, mask in (("FP32", reference), ("INT8", test))]
    differs = np.full((*reference.shape, 3), 0.93)
    differs[reference != test] = matplotlib.colors.to_rgb(RED)
    panels.append(("differ", differs))
    height = 8 / len(panels) * reference.shape[0] / reference.shape[1] + 0.8
    fig, axes = new_figure(1, len(panels), height=min(6, height), squeeze=False)
    for ax, (title, shown) in zip(axes[0], panels, strict=True):
        ax.imshow(shown, interpolation="nearest")
        ax.set_axis_off()
        ax.set_title(title, fontsize=10)
    same = f"{(reference == test).mean():.2%}".replace("%", " %")
    fig.suptitle(f"{same} of the pixels keep their class; mean IoU {iou:.3f}", fontsize=11)
    return fig
