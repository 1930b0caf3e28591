"""How far a quantized detector drifts from its float model where that one sees something, before any threshold."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import tee
from typing import NamedTuple

import numpy as np

from helpers import targets
from helpers.tasks.yolo_head import of_outputs

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


def _sides(logits) -> np.ndarray:
    """Distances to the four sides in cells, places × 4, from DFL logits 4R × places: Σ i·softmax(logits)ᵢ."""
    x = logits.reshape(4, len(logits) // 4, logits.shape[1]).astype(np.float64)
    x = np.exp(x - x.max(1, keepdims=True))
    return ((x * np.arange(x.shape[1])[:, None]).sum(1) / x.sum(1)).T


def _iou(a, b) -> np.ndarray:
    """IoU of boxes around one point, given as distances (left, top, right, bottom), each n × 4."""
    area = [(d[:, :2] + d[:, 2:]).prod(1) for d in (a, b, np.minimum(a, b))]
    return area[2] / np.maximum(area[0] + area[1] - area[2], 1e-12)


def _seen(outputs, places=None) -> list:
    """Per stride (places, best class there, its score, the four sides); at the places and classes given, if any."""
    found = []
    for k in range(0, len(outputs), 2):
        box, logit = outputs[k][0], outputs[k + 1][0]
        if places is None:
            at = np.nonzero(logit.max(0) >= np.log(_SEES / (1 - _SEES)))
            best = logit[:, at[0], at[1]].argmax(0)
        else:
            at, best = places[k // 2][:2]
        score = 1 / (1 + np.exp(-logit[best, at[0], at[1]].astype(np.float64)))
        found.append((at, best, score, _sides(box[:, at[0], at[1]])))
    return found


def outputs(fp32) -> list[str]:
    """Names of a cut YOLOv8's outputs, DFL logits and class logits in turn; ValueError for any other graph."""
    return _names(targets.load(fp32), fp32)


def _names(run, path) -> list[str]:
    found = of_outputs([(o.name, o.shape) for o in run.get_outputs()])
    if found is None:
        raise ValueError(f"{path}: has no class logits of its own; cut the head first with `qdq.split_head`.")
    return found.outputs


def reference_outputs(fp32, feeds) -> list:
    """What the float model sees in each feed, for `drift_against`; of the outputs only places that count are kept.

    Raises ValueError for a graph that is no cut YOLOv8, and where it sees nothing at all.
    """
    seen = list(_looks(fp32, feeds))
    if not any(len(score) for feed in seen for *_, score, _ in feed):
        raise _blind(len(seen))
    return seen


def _looks(fp32, feeds):
    run = targets.load(fp32, "cpu", optimize=True)
    _names(run, fp32)
    return (_seen(run.run(None, feed)) for feed in feeds)


def _blind(count: int) -> ValueError:
    return ValueError(
        f"the float model sees nothing (no score of {_SEES} or more) in the {count} inputs to judge by, so drift "
        "cannot be measured; give inputs that hold objects, or choose ranges by a method alone (--method)."
    )


def drift_against(seen: Iterable, qdq_model, feeds, target: str = "cpu") -> Drift:
    """`head_drift` against what `reference_outputs` saw in the same feeds, so that many are measured against one."""
    run = targets.load(qdq_model, target, **targets.get(target).quickly)
    change, overlap, count = [], [], 0
    for before, feed in zip(seen, feeds, strict=True):
        count += 1
        for a, b in zip(before, _seen(run.run(None, feed), before), strict=True):
            change.append(np.abs(a[2] - b[2]))
            overlap.append(_iou(a[3], b[3]))
    change, overlap = np.concatenate(change or [[]]), np.concatenate(overlap or [[]])
    if not change.size:
        raise _blind(count)
    return Drift(float(change.mean()), float(1 - overlap.mean()))


def head_drift(fp32, qdq_model, feeds, target: str = "cpu") -> Drift:
    """Drift of a QDQ detector from its float model, both cut by `qdq.split_head`, on a few feeds.

    It ranks methods with a dozen pictures, where AP needs thousands: nothing is matched, suppressed or cut off at a
    threshold, so a small change of the model is a small change here. Feeds are read once, one at a time.
    Raises ValueError for a graph that is not cut, and where the float model sees nothing.
    """
    one, other = tee(feeds)
    return drift_against(_looks(fp32, one), qdq_model, other, target)
