"""The crowded scene before a chapter and after it, beside FP32."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers import assets
from helpers.boxes import Detections, match
from helpers.plot.style import GREEN, LITERAL, ORANGE, new_figure


def stage(name: str) -> tuple[float, Detections]:
    """AP over 64 scenes and the crowded scene's boxes at a stage of data/stages.json.

    Raises ValueError that lists the stages. Source: tests/benchmarks/stages.py.

    >>> ap, boxes = stage("FP32")
    >>> ap, len(boxes[0])
    (0.897, 14)
    """
    found = _measured()
    if name not in found:
        raise ValueError(f"stage '{name}' is unknown; choose one of {', '.join(found)}.")
    boxes = np.array(found[name]["boxes"], float).reshape(-1, 6)
    return found[name]["ap"], (boxes[:, :4], boxes[:, 4], boxes[:, 5].astype(int))


@functools.cache
def _measured() -> dict[str, dict[str, Any]]:
    """Every stage of data/stages.json, read once."""
    return json.loads((assets.DATA / "stages.json").read_text(encoding="utf-8"))["stages"]


def stages(*names: str) -> Figure:
    """The crowded scene at one or more stages, and in FP32: boxes that FP32 has too are green, others dashed orange.

    Raises ValueError that lists the stages for an unknown one.

    >>> len(stages("cut off", "to nearest").axes)
    3
    """
    image = assets.open_image(assets.crowded_scene())
    _, reference = stage("FP32")
    shown = [*names, "FP32"]
    fig, axes = new_figure(1, len(shown), height=8 / len(shown) + (1.0 if len(shown) > 3 else 0.7))
    for ax, name in zip(axes, shown, strict=True):
        ap, boxes = stage(name)
        ax.imshow(image)
        ax.set_axis_off()
        _draw(ax, reference, boxes)
        gap = "\n" if len(shown) > 3 else ": "  # four titles side by side are short of room
        ax.set_title(f"{name}{gap}{len(boxes[0])} boxes\nAP {ap:.3f} over 64 scenes", fontsize=9, **LITERAL)
    right = " then ".join(str(len(match(reference, stage(name)[1]))) for name in names)
    fig.suptitle(f"Of FP32's {len(reference[0])} boxes, {right} found", fontsize=11)
    return fig


def _draw(ax: Axes, reference: Detections, boxes: Detections) -> None:
    """FP32's boxes solid green, others dashed orange, so that colour is not all that tells them apart."""
    partners = {j for _, j in match(reference, boxes)}
    for j, (x0, y0, x1, y1) in enumerate(boxes[0]):
        colour, style = (GREEN, "-") if j in partners else (ORANGE, "--")
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="black", lw=3))
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.8, ls=style))
