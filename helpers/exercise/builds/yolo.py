"""Chapter 09: boxes, written by the reader: overlap, decoding, pairing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.boxes import box_iou
from helpers.exercise.build import Build, Case, Mistake
from helpers.exercise.show import show_value
from helpers.plot.style import BLUE, GREY, ORANGE, new_figure
from helpers.tasks.yolo_decode import dfl_sides

CHAPTER = "09_yolo"
Box = Sequence[float]


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1): the course's own answer.

    >>> round(iou([0, 0, 2, 2], [1, 0, 3, 2]), 4)
    0.3333
    """
    return float(box_iou(np.asarray(a, float), np.asarray(b, float)))


def _iou_cases(rng: np.random.Generator) -> Iterable[Case]:
    for a, b in (
        ([0, 0, 2, 2], [0, 0, 2, 2]),
        ([0, 0, 2, 2], [1, 0, 3, 2]),
        ([0, 0, 1, 1], [2, 0, 3, 1]),
        ([0, 0, 1, 1], [2, 2, 3, 3]),
        ([10, 10, 14, 12], [11, 10, 15, 12]),
        ([0, 0, 4, 4], [1, 1, 3, 3]),
    ):
        yield {"a": [float(v) for v in a], "b": [float(v) for v in b]}
    for _ in range(50):
        corners, sides = rng.integers(0, 10, (2, 2)), rng.integers(1, 10, (2, 2))
        a, b = np.concatenate([corners, corners + sides], 1).astype(float).tolist()
        yield {"a": a, "b": b}


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _sides(a: Box, b: Box) -> tuple[float, float]:
    """Width and height of the overlap, negative where there is none."""
    return min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])


def _never_clips(a: Box, b: Box) -> float:
    width, height = _sides(a, b)
    return width * height / (_area(a) + _area(b) - width * height)


def _overlap(a: Box, b: Box) -> float:
    width, height = _sides(a, b)
    return max(width, 0) * max(height, 0)


def _over_sum(a: Box, b: Box) -> float:
    return _overlap(a, b) / (_area(a) + _area(b))


def _over_smaller(a: Box, b: Box) -> float:
    return _overlap(a, b) / min(_area(a), _area(b))


def _sides_as_xywh(a: Box, b: Box) -> float:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    return iou([ax, ay, ax + aw, ay + ah], [bx, by, bx + bw, by + bh])


def _counts_pixels(a: Box, b: Box) -> float:
    return iou([a[0], a[1], a[2] + 1, a[3] + 1], [b[0], b[1], b[2] + 1, b[3] + 1])


def _draw_boxes(case: Case, yours: Any, truth: float) -> Figure:
    """Both boxes, with the reader's IoU and the right one."""
    fig, ax = new_figure(height=2.6)
    for name, colour, style in (("a", BLUE, "-"), ("b", ORANGE, "--")):
        x0, y0, x1, y1 = case[name]
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=2, ls=style, label=name))
    ax.autoscale_view()
    ax.set(aspect="equal", xlabel="x", ylabel="y", title=f"yours: {show_value(yours)}, right: {show_value(truth)}")
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.grid(alpha=0.25, color=GREY)
    return fig


IOU = Build(
    name="yolo.iou",
    chapter=CHAPTER,
    title="How well two boxes fit",
    level=1,
    minutes=6,
    reference=iou,
    cases=_iou_cases,
    atol=1e-9,
    draw=_draw_boxes,
    hints=(
        "the overlap goes from the larger left side to the smaller right side; is that always a positive width?",
        "max(0, min of the right sides − max of the left sides), the same for top and bottom; union = a + b − overlap.",
    ),
    mistakes=(
        Mistake("Boxes that do not touch have no overlap: your width or height went below 0.", _never_clips),
        Mistake("You divided by the sum of both areas, which counts the overlap twice.", _over_sum),
        Mistake("You divided by the smaller box. Divide by the union.", _over_smaller),
        Mistake("You gave the overlap's area. Divide it by the union's.", _overlap),
        Mistake("You took the last two numbers for width and height. They are the other corner.", _sides_as_xywh),
        Mistake("You counted the border's pixels twice: a width is x1 − x0, without + 1.", _counts_pixels),
    ),
)


def dfl_decode(logits: np.ndarray) -> float:
    """Σ i·softmax(logits)ᵢ, the expected bin: the course's own answer.

    >>> dfl_decode(np.zeros(16))
    7.5
    """
    column = np.tile(np.asarray(logits, float)[:, None], (4, 1))
    return float(dfl_sides(column)[0, 0])


def _dfl_cases(rng: np.random.Generator) -> Iterable[Case]:
    for logits in ([0.0, 0.0], [0.0, 50.0, 0.0], [1.0, 0.0, 0.0, 3.0], [2.0, 2.0, -1.0], [0.0, 1000.0, 1000.0, 0.0]):
        yield {"logits": np.array(logits)}
    for _ in range(20):
        yield {"logits": rng.normal(0, 3, 16).round(2)}


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _overflows(logits: np.ndarray) -> float:
    powers = np.exp(logits)
    return float((np.arange(len(logits)) * powers).sum() / powers.sum())


def _from_one(logits: np.ndarray) -> float:
    return float(_softmax(logits) @ np.arange(1, len(logits) + 1))


def _largest(logits: np.ndarray) -> float:
    return float(np.argmax(logits))


def _no_softmax(logits: np.ndarray) -> float:
    return float(logits @ np.arange(len(logits)) / logits.sum())


def _no_normalising(logits: np.ndarray) -> float:
    return float(np.exp(logits) @ np.arange(len(logits)))


def _sigmoids(logits: np.ndarray) -> float:
    each = 1 / (1 + np.exp(-logits))
    return float(each @ np.arange(len(logits)) / each.sum())


DFL_DECODE = Build(
    name="yolo.dfl_decode",
    chapter=CHAPTER,
    title="From 16 logits to one side of a box",
    level=2,
    minutes=7,
    reference=dfl_decode,
    cases=_dfl_cases,
    atol=1e-6,
    hints=(
        "first make shares that sum to 1, e^logit over the sum of all; then take the mean bin with these shares.",
        "subtract the largest logit before np.exp: e^1000 has no float. Then Σ i·share over i = 0, 1, 2, …",
    ),
    mistakes=(
        Mistake("e^1000 is too large for a float. Subtract the largest logit first; no share changes.", _overflows),
        Mistake("You counted bins from 1. The first one is 0.", _from_one),
        Mistake("You took the largest bin alone. The side is the mean over all of them.", _largest),
        Mistake("You weighed the bins with the logits. Weigh with shares: e^logit over their sum.", _no_softmax),
        Mistake("Your shares do not sum to 1. Divide by their sum.", _no_normalising),
        Mistake("You used sigmoids. The bins of a side compete, so take the softmax.", _sigmoids),
    ),
)

BUILDS = [IOU, DFL_DECODE]
