"""How far a quantized detector drifts from its float model where that one sees something, before any threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import NamedTuple

import numpy as np

from helpers import targets
from helpers.boxes import box_iou
from helpers.graph import Feed, Model, StrPath
from helpers.graph.activations import sigmoid
from helpers.tasks.yolo_decode import dfl_sides
from helpers.tasks.yolo_head import of_model

_SEES = 0.1  # the score from which on a place counts


class Drift(NamedTuple):
    """Mean |change of score| and mean 1 − IoU over the places of a head where the float model's best score is ≥ 0.1.

    `total` is their sum: both are shares of one, and both are what a user sees.

    >>> Drift(0.03, 0.02).total
    0.05
    """

    score: float
    box: float

    @property
    def total(self) -> float:
        return self.score + self.box


class Seen(NamedTuple):
    """What one stride of a head says at the places that count: (rows, columns), and for each its best class, the
    score of that class, and the sides of the box there (left, top, right, bottom; places × 4, in cells)."""

    places: tuple[np.ndarray, ...]
    classes: np.ndarray
    scores: np.ndarray
    sides: np.ndarray


def head_drift(fp32: Model | StrPath, qdq_model: Model | StrPath, feeds: Iterable[Feed], target: str = "cpu") -> Drift:
    """Drift of a QDQ detector from its float model, both cut by `qdq.split_head`, on a few feeds.

    It ranks methods with a dozen images, where AP needs thousands: nothing is matched, suppressed or cut off.
    Raises ValueError for a graph that is not cut, and where the float model sees nothing.
    """
    one, other = tee(feeds)
    return drift_against(_looks(fp32, one), qdq_model, other, target)


def reference_outputs(fp32: Model | StrPath, feeds: Iterable[Feed]) -> list[list[Seen]]:
    """What the float model sees in each feed, stride by stride, for `drift_against`; raises as `head_drift` does."""
    seen = list(_looks(fp32, feeds))
    if not any(len(stride.scores) for feed in seen for stride in feed):
        raise blind(len(seen))
    return seen


def drift_against(
    seen: Iterable[list[Seen]], qdq_model: Model | StrPath, feeds: Iterable[Feed], target: str = "cpu"
) -> Drift:
    """`head_drift` against what `reference_outputs` saw in the same feeds, so that many are measured against one."""
    session = targets.load(qdq_model, target, **targets.get(target).quickly)
    change, overlap, count = [np.zeros(0)], [np.zeros(0)], 0
    for before, feed in zip(seen, feeds, strict=True):
        count += 1
        for a, b in zip(before, _seen(session.run(None, feed), before), strict=True):
            change.append(np.abs(a.scores - b.scores))
            overlap.append(box_iou(_around_zero(a.sides), _around_zero(b.sides)))
    changes = np.concatenate(change)
    if not changes.size:
        raise blind(count)
    return Drift(float(changes.mean()), float(1 - np.concatenate(overlap).mean()))


def outputs(fp32: Model | StrPath) -> list[str]:
    """Names of a cut YOLOv8's outputs, DFL logits and class logits in turn; ValueError for any other graph."""
    graph = Model.of(fp32)
    found = of_model(graph)
    if found is None:
        raise ValueError(f"{graph}: has no class logits of its own; cut the head first with `qdq.split_head`.")
    return found.outputs


def _looks(fp32: Model | StrPath, feeds: Iterable[Feed]) -> Iterator[list[Seen]]:
    outputs(fp32)  # refuses any other graph
    session = targets.load(fp32, "cpu", optimize=True)
    return (_seen(session.run(None, feed)) for feed in feeds)


def _seen(outputs: Sequence[np.ndarray], before: list[Seen] | None = None) -> list[Seen]:
    """One `Seen` for each stride; at the places and classes that were seen `before`, if any."""
    found = []
    for k, (boxes, logits) in enumerate(zip(outputs[::2], outputs[1::2], strict=True)):
        box, logit = boxes[0], logits[0]
        if before is None:
            places = np.nonzero(logit.max(0) >= np.log(_SEES / (1 - _SEES)))
            classes = logit[:, places[0], places[1]].argmax(0)
        else:
            places, classes = before[k].places, before[k].classes
        scores = sigmoid(logit[classes, places[0], places[1]])
        found.append(Seen(places, classes, scores, dfl_sides(box[:, places[0], places[1]])))
    return found


def _around_zero(sides: np.ndarray) -> np.ndarray:
    """Boxes around one point, xyxy, from their distances (left, top, right, bottom) to it."""
    return np.concatenate([-sides[:, :2], sides[:, 2:]], 1)


def blind(count: int) -> ValueError:
    """What is raised where the float model sees nothing."""
    return ValueError(
        f"the float model sees nothing (no score of {_SEES} or more) in the {count} inputs to judge by, so drift "
        "cannot be measured; give inputs that hold objects, or choose ranges by a method alone (--method)."
    )
