"""COCO's average precision, and its interval over images drawn anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from helpers.boxes.overlap import Detections, Truth, box_iou

_LEVELS, _RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)  # COCO's IoU levels and recalls


def average_precision(predictions: Sequence[Detections], truths: Sequence[Truth]) -> dict[str, float]:
    """COCO's average precision of detections: {"AP50-95", "AP50", "AP75"}, each in 0…1.

    `predictions` holds `(xyxy px, scores, classes)` per image, `truths` `(xyxy px, classes)`. At most 300
    boxes an image count, as Ultralytics has it (COCO's own limit is 100). Raises ValueError where no truth holds an
    object. Source: Lin et al., "Microsoft COCO", 2014.

    >>> box = np.array([[10, 10, 60, 60.0]])
    >>> average_precision([(box, np.array([0.9]), np.array([0]))], [(box, np.array([0]))])["AP50-95"]
    1.0
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth = [row | {"id": k, "iscrowd": 0} for k, row in enumerate(_coco_rows(truths), 1)]
    scores = [float(score) for picture in predictions for score in picture[1]]
    found = [row | {"score": score} for row, score in zip(_coco_rows(predictions), scores, strict=True)]
    if not truth:
        raise ValueError("the pictures have no labelled objects, so there is no AP; give pictures with labels.")
    if not found:
        return {"AP50-95": 0.0, "AP50": 0.0, "AP75": 0.0}
    categories = sorted({row["category_id"] for row in truth + found})
    images, names = [{"id": i} for i in range(len(truths))], [{"id": c, "name": str(c)} for c in categories]
    reference = COCO({"images": images, "annotations": truth, "categories": names})
    run = COCOeval_faster(reference, reference.loadRes(found), "bbox", print_function=lambda *a, **k: None)
    run.params.maxDets = [1, 10, 300]
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][..., 0, -1]  # IoU × recall × class, all sizes, 300 boxes
    per_iou = [float(p[p > -1].mean()) if (p > -1).any() else 0.0 for p in precision]
    return {"AP50-95": float(np.mean(per_iou)), "AP50": per_iou[0], "AP75": per_iou[5]}


def _coco_rows(images: Sequence[Detections] | Sequence[Truth]) -> Iterator[dict[str, Any]]:
    """Every box as COCO writes it: x, y, width, height."""
    for image, boxes in enumerate(images):
        xyxy, classes = np.asarray(boxes[0], float).reshape(-1, 4), boxes[-1]
        for (x0, y0, x1, y1), category in zip(xyxy.tolist(), classes, strict=True):
            width, height = x1 - x0, y1 - y0
            box = [x0, y0, width, height]
            yield {"image_id": image, "category_id": int(category), "bbox": box, "area": width * height}


class Interval(NamedTuple):
    """A measured value and the ends of its 95 % bootstrap interval.

    >>> Interval(0.0123, 0.01, 0.015)
    0.0123 (0.0100 … 0.0150)
    """

    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        if self.low == np.inf:
            return "∞ (in every draw)"
        return f"{self.value:.4f} ({self.low:.4f} … {self.high:.4f})"


def interval(samples: np.ndarray) -> Interval:
    """From samples of which the first is that of the images as they are; NaN where nothing was counted.

    >>> interval(np.array([0.5, 0.4, 0.6]))
    0.5000 (0.4050 … 0.5950)
    >>> interval(np.full(3, np.inf))  # an SQNR where nothing differs
    ∞ (in every draw)
    """
    seen = samples[1:][np.isfinite(samples[1:])]
    if np.isinf(samples).all():
        return Interval(*[float(samples[0])] * 3)
    low, high = np.quantile(seen, [0.025, 0.975]) if seen.size else (np.nan, np.nan)
    return Interval(float(samples[0]), float(low), float(high))


def resampled(images: int, times: int, seed: int = 0) -> np.ndarray:
    """How often each image counts, (1 + times) × images: once each, then drawn with replacement.

    One seed gives one set of draws, so differences of two models' samples are paired. Source: Efron, "Bootstrap
    methods: another look at the jackknife", 1979.

    >>> resampled(3, 2).sum(1)
    array([3, 3, 3])
    """
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), times)
    return np.concatenate([np.ones((1, images), int), draws])


class _Part(NamedTuple):
    """One class in one image: its best 300 scores, the IoU levels at which each hits (boxes × 10), how many truths."""

    image: int
    scores: np.ndarray
    hits: np.ndarray
    truths: int


def average_precision_samples(
    predictions: Sequence[Detections], truths: Sequence[Truth], weights: np.ndarray
) -> np.ndarray:
    """AP50-95 for each row of `weights` (rows × images): `average_precision` with image i counted w_i times.

    COCO's rules once more, because its tools cannot weigh: a box takes the free truth of its class that it
    overlaps most, best score first; precision is the best at this recall or above. NaN for a row without objects.

    >>> box, one = np.array([[10, 10, 60, 60.0]]), np.array([0])
    >>> average_precision_samples([(box, np.array([0.9]), one)], [(box, one)], np.array([[1], [2]]))
    array([1., 1.])
    """
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for parts in _by_class(predictions, truths).values():
        positives = np.sum([weights[:, part.image] * part.truths for part in parts], 0)
        known = positives > 0
        counted += known
        for precision in _precisions(parts, positives, weights):
            total += known * precision
    return total / np.where(counted, counted, np.nan)


def _by_class(predictions: Sequence[Detections], truths: Sequence[Truth]) -> dict[int, list[_Part]]:
    found: dict[int, list[_Part]] = {}
    for image, (boxes, truth) in enumerate(zip(predictions, truths, strict=True)):
        scores, classes, true = np.asarray(boxes[1]), np.asarray(boxes[2]), np.asarray(truth[-1])
        for c in {*classes.tolist(), *true.tolist()}:
            mine = np.flatnonzero(classes == c)
            mine = mine[np.argsort(-scores[mine], kind="stable")][:300]
            overlap = box_iou(np.asarray(boxes[0])[mine][:, None], np.asarray(truth[0])[true == c][None])
            found.setdefault(c, []).append(_Part(image, scores[mine], _hits(overlap), overlap.shape[1]))
    return found


def _hits(overlap: np.ndarray) -> np.ndarray:
    """Whether each box finds a free truth, boxes × 10 IoU levels; `overlap` is boxes × truths, best score first."""
    boxes, truths = overlap.shape
    free, hit = np.ones((10, truths), bool), np.zeros((boxes, 10), bool)
    if not truths:
        return hit
    for k, row in enumerate(overlap):
        best = np.where(free, row, -1)
        j = best.argmax(1)
        hit[k] = best[np.arange(10), j] >= _LEVELS
        free[hit[k], j[hit[k]]] = False
    return hit


def _precisions(parts: list[_Part], positives: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
    """A tenth of the mean precision over 101 recalls, for each row of weights, IoU level by IoU level."""
    owner = np.concatenate([np.full(len(part.scores), part.image) for part in parts])
    order = np.argsort(-np.concatenate([part.scores for part in parts]), kind="stable")
    hits = np.concatenate([part.hits for part in parts])[order]
    if not hits.any():
        return
    last = np.flatnonzero(hits.any(1))[-1] + 1  # what comes later changes no precision
    weight = weights[:, owner[order[:last]]]
    everything = np.cumsum(weight, 1)
    for hit in hits[:last].T:
        right = np.cumsum(weight * hit, 1)
        precision = np.maximum.accumulate((right / np.maximum(everything, 1))[:, ::-1], 1)[:, ::-1]
        reached = np.searchsorted(_RECALLS, right / np.maximum(positives, 1)[:, None], side="right")
        yield (precision * np.diff(reached, axis=1, prepend=0)).sum(1) / (len(_LEVELS) * len(_RECALLS))


def average_precision_interval(
    predictions: Sequence[Detections], truths: Sequence[Truth], resamples: int = 200, seed: int = 0
) -> Interval:
    """AP50-95 of `average_precision` with its 95 % interval over images drawn anew.

    Raises ValueError where there are no objects, or not one of each for every image.

    >>> box, one = np.array([[10, 10, 60, 60.0]]), np.array([0])
    >>> average_precision_interval([(box, np.array([0.9]), one)] * 2, [(box, one)] * 2)
    1.0000 (1.0000 … 1.0000)
    """
    if len(predictions) != len(truths) or not any(len(t[-1]) for t in truths):
        text = "give one of each for every picture, and pictures with objects"
        raise ValueError(f"{len(predictions)} predictions and {len(truths)} truths make no AP; {text}.")
    return interval(average_precision_samples(predictions, truths, resampled(len(truths), resamples, seed)))
