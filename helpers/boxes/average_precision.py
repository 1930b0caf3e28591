"""COCO's average precision, and its interval over pictures drawn anew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from helpers.boxes.overlap import box_iou


def average_precision(predictions, truths) -> dict[str, float]:
    """COCO's average precision of detections: {"AP50-95", "AP50", "AP75"}, each in 0…1.

    `predictions` holds `(xyxy px, scores, classes)` per picture, `truths` `(xyxy px, classes)`. At most 300
    boxes a picture count, as Ultralytics has it (COCO's own limit is 100). Source: Lin et al., "Microsoft COCO", 2014.

    >>> box = np.array([[10, 10, 60, 60.0]])
    >>> average_precision([(box, np.array([0.9]), np.array([0]))], [(box, np.array([0]))])["AP50-95"]
    1.0
    """
    from faster_coco_eval import COCO, COCOeval_faster

    def rows(pictures, with_scores):
        for i, picture in enumerate(pictures):
            xyxy, classes = np.asarray(picture[0], float).reshape(-1, 4), picture[-1]
            for j, (x0, y0, x1, y1) in enumerate(xyxy.tolist()):
                box = [x0, y0, x1 - x0, y1 - y0]
                row = {"image_id": i, "category_id": int(classes[j]), "bbox": box, "area": box[2] * box[3]}
                yield row | ({"score": float(picture[1][j])} if with_scores else {"iscrowd": 0})

    truth = [row | {"id": k} for k, row in enumerate(rows(truths, False), 1)]
    found = list(rows(predictions, True))
    if not truth:
        raise ValueError("the pictures have no labelled objects, so there is no AP; give pictures with labels.")
    if not found:
        return {"AP50-95": 0.0, "AP50": 0.0, "AP75": 0.0}
    categories = sorted({row["category_id"] for row in truth + found})
    reference = COCO(
        {
            "images": [{"id": i} for i in range(len(truths))],
            "annotations": truth,
            "categories": [{"id": c, "name": str(c)} for c in categories],
        }
    )
    run = COCOeval_faster(reference, reference.loadRes(found), "bbox", print_function=lambda *a, **k: None)
    run.params.maxDets = [1, 10, 300]
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][..., 0, -1]  # IoU × recall × class, all sizes, 300 boxes
    per_iou = [float(p[p > -1].mean()) if (p > -1).any() else 0.0 for p in precision]
    return {"AP50-95": float(np.mean(per_iou)), "AP50": per_iou[0], "AP75": per_iou[5]}


class Interval(NamedTuple):
    """A measured value and the ends of its 95 % bootstrap interval.

    >>> Interval(0.0123, 0.01, 0.015)
    0.0123 (0.0100 … 0.0150)
    """

    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} … {self.high:.4f})"


def interval(samples: np.ndarray) -> Interval:
    """From samples of which the first is that of the pictures as they are; NaN where nothing was counted."""
    seen = samples[1:][np.isfinite(samples[1:])]
    low, high = np.quantile(seen, [0.025, 0.975]) if seen.size else (np.nan, np.nan)
    return Interval(float(samples[0]), float(low), float(high))


def resampled(pictures: int, times: int, seed: int = 0) -> np.ndarray:
    """How often each picture counts, (1 + times) × pictures: once each, then drawn with replacement.

    One seed gives one set of draws, so differences of two models' samples are paired. Source: Efron, "Bootstrap
    methods: another look at the jackknife", 1979.

    >>> resampled(3, 2).sum(1)
    array([3, 3, 3])
    """
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), times)
    return np.concatenate([np.ones((1, pictures), int), draws])


def average_precision_samples(predictions, truths, weights: np.ndarray) -> np.ndarray:
    """AP50-95 for each row of `weights` (rows × pictures): `average_precision` with picture i counted w_i times.

    COCO's rules once more, because its tools cannot weigh: a box takes the free truth of its class that it
    overlaps most, best score first; precision is the best at this recall or above, at 101 recalls.
    """
    by_class: dict[int, list] = {}
    levels, recalls = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
    for picture, (found, truth) in enumerate(zip(predictions, truths, strict=True)):
        scores, classes, true = np.asarray(found[1]), np.asarray(found[2]), np.asarray(truth[-1])
        for c in {*classes.tolist(), *true.tolist()}:
            mine = np.flatnonzero(classes == c)
            mine = mine[np.argsort(-scores[mine], kind="stable")][:300]
            overlap = box_iou(np.asarray(found[0])[mine][:, None], np.asarray(truth[0])[true == c][None])
            free, hit = np.ones((10, overlap.shape[1]), bool), np.zeros((len(mine), 10), bool)
            for k, row in enumerate(overlap) if free.size else ():
                best = np.where(free, row, -1)
                j = best.argmax(1)
                hit[k] = best[np.arange(10), j] >= levels
                free[hit[k], j[hit[k]]] = False
            by_class.setdefault(c, []).append((picture, scores[mine], hit, overlap.shape[1]))
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for parts in by_class.values():
        positives = sum(weights[:, p] * n for p, _, _, n in parts)
        owner = np.concatenate([np.full(len(s), p) for p, s, *_ in parts])
        order = np.argsort(-np.concatenate([s for _, s, *_ in parts]), kind="stable")
        hits = np.concatenate([h for *_, h, _ in parts])[order]
        last = np.flatnonzero(hits.any(1))[-1] + 1 if hits.any() else 0  # what comes later changes no precision
        weight, known = weights[:, owner[order[:last]]], positives > 0
        counted += known
        if not last:
            continue
        everything = np.cumsum(weight, 1)
        for hit in hits[:last].T:
            right = np.cumsum(weight * hit, 1)
            precision = np.maximum.accumulate((right / np.maximum(everything, 1))[:, ::-1], 1)[:, ::-1]
            reached = np.searchsorted(recalls, right / np.maximum(positives, 1)[:, None], side="right")
            total += known * (precision * np.diff(reached, axis=1, prepend=0)).sum(1) / 1010
    return total / np.where(counted, counted, np.nan)


def average_precision_interval(predictions, truths, resamples: int = 200, seed: int = 0) -> Interval:
    """AP50-95 with its 95 % interval over pictures drawn anew; arguments as `average_precision` takes them.

    >>> box, one = np.array([[10, 10, 60, 60.0]]), np.array([0])
    >>> average_precision_interval([(box, np.array([0.9]), one)] * 2, [(box, one)] * 2)
    1.0000 (1.0000 … 1.0000)
    """
    if len(predictions) != len(truths) or not any(len(t[-1]) for t in truths):
        text = "give one of each for every picture, and pictures with objects"
        raise ValueError(f"{len(predictions)} predictions and {len(truths)} truths make no AP; {text}.")
    return interval(average_precision_samples(predictions, truths, resampled(len(truths), resamples, seed)))
