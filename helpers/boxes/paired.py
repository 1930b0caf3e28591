"""Two detectors on the same images: what moved between them, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.boxes.overlap import Detections, Truth, above, box_area, box_iou, match
from helpers.boxes.precision import Interval, average_precision_samples, interval, resampled

SIZES = {"": (0, np.inf), "/small": (0, 32**2), "/medium": (32**2, 96**2), "/large": (96**2, np.inf)}  # px², COCO's
_MOVED = ("iou_drift", "centre_shift", "size_shift", "jitter", "score")
_MATCHED = ("image", "area", *_MOVED, "flip", "faded")
_SINGLE = ("image", "area", "lost", "new")
_Columns = dict[str, np.ndarray]  # a value for each matched, or each single, box


def paired_boxes(
    reference: Sequence[Detections], test: Sequence[Detections], conf: float = 0.25
) -> dict[str, np.ndarray]:
    """What `paired_metrics` averages, per matched box: iou_drift, centre_shift, size_shift, jitter, FP32's score.

    >>> one = [(np.array([[0, 0, 10, 10.0]]), np.array([0.9]), np.array([0]))]
    >>> paired_boxes(one, one)["iou_drift"]
    array([0.])
    """
    matched, _ = _compare(reference, test, conf)
    return {key: matched[key] for key in _MOVED}


def paired_metrics(
    reference: Sequence[Detections],
    test: Sequence[Detections],
    truths: Sequence[Truth] | None = None,
    *,
    conf: float = 0.25,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Interval]:
    """How `test`'s boxes differ from `reference`'s on the same images: {key: (value, low, high)}.

    Both hold `(xyxy px, scores, classes)` per image, as `Detector.results` gives them. The reference's boxes above
    `conf` are matched one to one with all of test's: same class, IoU ≥ 0.5, then what is left with boxes of another
    class. Intervals: 95 %, images drawn anew `resamples` times from `seed`.

    | key | mean over matched boxes of |
    |---|---|
    | iou_drift | 1 − IoU |
    | centre_shift, size_shift | distance of the centres, of (width, height); px of the image |
    | jitter_mean, jitter_abs, jitter_std | score(test) − score(reference): mean, mean size, standard deviation |
    | **key** | **per box of the reference** |
    | flips | matched with a box of another class |
    | lost | no match, or one whose score is not above `conf` |
    | new | boxes of test above `conf` without a match |

    Each also as "key/small", "/medium", "/large": COCO's areas of the reference's box (of test's, if new). `agreement`
    is AP50-95 of test with those boxes of the reference as truths. With `truths`, `(xyxy px, classes)` per image:
    `ap` and `ap_drop` (reference − test, on the same draws), `ap_conf` (AP of test's boxes above `conf`),
    `ap_retuned` (above `threshold`) and `threshold`, at which test shows as many boxes as reference does at `conf`.
    NaN where nothing was counted. Raises ValueError for lists of unequal length or a reference without boxes.

    >>> a = [(np.array([[0, 0, 10, 10.0]]), np.array([0.9]), np.array([0]))]
    >>> b = [(np.array([[0, 0, 10, 12.0]]), np.array([0.8]), np.array([0]))]
    >>> m = paired_metrics(a, b)
    >>> [round(m[key].value, 3) for key in ("iou_drift", "centre_shift", "size_shift", "jitter_mean", "lost")]
    [0.167, 1.0, 2.0, -0.1, 0.0]
    """
    reference, test = list(reference), list(test)
    if len(reference) != len(test):
        text = "give both detectors the same pictures in the same order"
        raise ValueError(f"reference has {len(reference)} pictures, test {len(test)}; {text}.")
    matched, single = _compare(reference, test, conf)
    if not len(matched["image"]) and not single["lost"].any():
        raise ValueError(f"the reference has no box above {conf}, so there is nothing to compare; give other pictures.")
    weights = resampled(len(test), resamples, seed)
    found: dict[str, Interval] = {}
    for suffix, limits in SIZES.items():
        samples = _samples(matched, single, weights, limits)
        found |= {key + suffix: interval(values) for key, values in samples.items()}
    shown = [above(r, conf) for r in reference]
    found["agreement"] = interval(average_precision_samples(test, [(xyxy, c) for xyxy, _, c in shown], weights))
    if truths is not None:
        found |= _against_truths(reference, test, truths, weights, conf)
    return found


def _compare(reference: Sequence[Detections], test: Sequence[Detections], conf: float) -> tuple[_Columns, _Columns]:
    """(columns of matched boxes, columns of single boxes): the reference's above `conf` against all of test's."""
    matched, single = [], []
    for image, (one, other) in enumerate(zip(reference, test, strict=True)):
        a, b = above(one, conf), (np.asarray(other[0]), np.asarray(other[1]), np.asarray(other[2]))
        area_a, area_b = box_area(a[0]), box_area(b[0])
        pairs = _match_any_class(a, b, conf)
        for i, j, flip in pairs:
            moved = *_moved(a[0][i], b[0][j]), b[1][j] - a[1][i], a[1][i]
            matched.append((image, area_a[i], *moved, flip, b[1][j] <= conf))
        gone, seen = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
        single += [(image, area_a[i], 1, 0) for i in range(len(a[1])) if i not in gone]
        single += [(image, area_b[j], 0, 1) for j in np.flatnonzero(b[1] > conf) if j not in seen]
    return _columns(matched, _MATCHED), _columns(single, _SINGLE)


def _columns(rows: list[tuple], names: tuple[str, ...]) -> _Columns:
    table = np.array(rows, float).reshape(-1, len(names))
    return dict(zip(names, table.T, strict=True))


def _match_any_class(a: Detections, b: Detections, conf: float) -> list[tuple[int, int, bool]]:
    """(i, j, False) of boxes matched within their class, then (i, j, True) of what is left, whatever its class."""
    same = match(a, b)
    left_a = np.setdiff1d(np.arange(len(a[1])), [i for i, _ in same])
    left_b = np.setdiff1d(np.arange(len(b[1])), [j for _, j in same])
    left_b = left_b[b[1][left_b] > conf]  # a box nobody sees is no other opinion
    rest_a, rest_b = ((d[0][left], d[1][left], np.zeros(len(left))) for d, left in ((a, left_a), (b, left_b)))
    flipped = [(int(left_a[i]), int(left_b[j]), True) for i, j in match(rest_a, rest_b)]
    return [(i, j, False) for i, j in same] + flipped


def _moved(p: np.ndarray, q: np.ndarray) -> tuple[float, float, float]:
    """(1 − IoU, distance of the centres, distance of (width, height)) of two boxes, px."""
    centre, size = (q[:2] + q[2:] - p[:2] - p[2:]) / 2, q[2:] - q[:2] - p[2:] + p[:2]
    return 1 - float(box_iou(p, q)), float(np.hypot(*centre)), float(np.hypot(*size))


def _samples(
    matched: _Columns, single: _Columns, weights: np.ndarray, limits: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Each metric of the boxes whose area is within `limits` (px²), for each row of `weights` (rows × images)."""
    in_pairs, alone = ((c["area"] >= limits[0]) & (c["area"] < limits[1]) for c in (matched, single))

    def total(columns: _Columns, values: np.ndarray) -> np.ndarray:
        per_image = np.bincount(columns["image"].astype(int), values, weights.shape[1])
        return weights @ per_image

    count = total(matched, in_pairs)
    boxes = count + total(single, alone * single["lost"])

    def mean(values: np.ndarray) -> np.ndarray:
        return total(matched, in_pairs * values) / count

    jitter = matched["jitter"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            **{key: mean(matched[key]) for key in ("iou_drift", "centre_shift", "size_shift")},
            "jitter_mean": mean(jitter),
            "jitter_abs": mean(np.abs(jitter)),
            "jitter_std": np.sqrt(np.maximum(mean(jitter**2) - mean(jitter) ** 2, 0)),
            "flips": total(matched, in_pairs * matched["flip"]) / boxes,
            "lost": (boxes - count + total(matched, in_pairs * matched["faded"])) / boxes,
            "new": total(single, alone * single["new"]) / boxes,
        }


def _against_truths(
    reference: list[Detections], test: list[Detections], truths: Sequence[Truth], weights: np.ndarray, conf: float
) -> dict[str, Interval]:
    """AP of test, what it lost against the reference, and what thresholds make of it."""
    scores = np.sort(np.concatenate([np.asarray(t[1]) for t in test]))[::-1]
    count = sum(len(above(r, conf)[1]) for r in reference)
    threshold = float(scores[min(count, len(scores) - 1)]) if len(scores) else conf

    def precision(found: list[Detections]) -> np.ndarray:
        return average_precision_samples(found, truths, weights)

    ap = precision(test)
    return {
        "ap": interval(ap),
        "ap_drop": interval(precision(reference) - ap),
        "ap_conf": interval(precision([above(t, conf) for t in test])),
        "ap_retuned": interval(precision([above(t, threshold) for t in test])),
        "threshold": Interval(*[threshold] * 3),
    }
