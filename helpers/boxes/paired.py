"""Two detectors on the same pictures: what moved between them, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.boxes.average_precision import Interval, average_precision_samples, interval, resampled
from helpers.boxes.overlap import box_iou, match

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}  # px², COCO's


def _pictures(reference, test, conf: float):
    """(rows of matched boxes, rows of single boxes); every row starts with its picture and the box's area, px²."""
    pairs, singles = [], []
    for picture, (a, b) in enumerate(zip(reference, test, strict=True)):
        a = tuple(np.asarray(part)[np.asarray(a[1]) > conf] for part in a)
        b = tuple(np.asarray(part) for part in b)
        area = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a[0], b[0])]
        found = [(i, j, False) for i, j in match(a, b)]
        left = [np.setdiff1d(np.arange(len(d[1])), [f[k] for f in found]) for k, d in enumerate((a, b))]
        left[1] = left[1][b[1][left[1]] > conf]  # a box nobody sees is no other opinion
        blind = [(d[0][rest], d[1][rest], np.zeros(len(rest))) for d, rest in zip((a, b), left, strict=True)]
        found += [(left[0][i], left[1][j], True) for i, j in match(*blind)]
        for i, j, flip in found:
            p, q = a[0][i], b[0][j]
            centre, size = (q[:2] + q[2:] - p[:2] - p[2:]) / 2, q[2:] - q[:2] - p[2:] + p[:2]
            shift = np.hypot(*centre), np.hypot(*size), float(b[1][j] - a[1][i])
            pairs.append((picture, area[0][i], 1 - float(box_iou(p, q)), *shift, flip, b[1][j] <= conf, a[1][i]))
        gone, seen = {f[0] for f in found}, {f[1] for f in found}
        singles += [(picture, area[0][i], 1, 0) for i in range(len(a[1])) if i not in gone]
        singles += [(picture, area[1][j], 0, 1) for j in np.flatnonzero(b[1] > conf) if j not in seen]
    return np.array(pairs, float).reshape(-1, 9), np.array(singles, float).reshape(-1, 4)


def paired_boxes(reference, test, conf: float = 0.25) -> dict[str, np.ndarray]:
    """What `paired_metrics` averages, a value per matched box: iou_drift, centre_shift, size_shift, jitter, and the
    reference's score.

    >>> one = [(np.array([[0, 0, 10, 10.0]]), np.array([0.9]), np.array([0]))]
    >>> paired_boxes(one, one)["iou_drift"]
    array([0.])
    """
    pairs, _ = _pictures(reference, test, conf)
    columns = {"iou_drift": 2, "centre_shift": 3, "size_shift": 4, "jitter": 5, "score": 8}
    return {key: pairs[:, column] for key, column in columns.items()}


def paired_metrics(
    reference: Sequence,
    test: Sequence,
    truths: Sequence | None = None,
    *,
    conf: float = 0.25,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Interval]:
    """How `test`'s boxes differ from `reference`'s on the same pictures: {key: (value, low, high)}.

    Both hold `(xyxy px, scores, classes)` per picture, as `Detector.detect(picture, conf=0.001)` gives them. The
    reference's boxes above `conf` are matched one to one with all of test's: same class, IoU ≥ 0.5, then what is left
    with boxes of another class. Intervals: 95 %, pictures drawn anew `resamples` times from `seed`.

    | key | mean over matched boxes of |
    |---|---|
    | iou_drift | 1 − IoU |
    | centre_shift, size_shift | distance of the centres, of (width, height); px of the picture |
    | jitter_mean, jitter_abs, jitter_std | score(test) − score(reference): mean, mean size, standard deviation |
    | **key** | **per box of the reference** |
    | flips | matched with a box of another class |
    | lost | no match, or one whose score is not above `conf` |
    | new | boxes of test above `conf` without a match |

    Each also as "key/small", "/medium", "/large": COCO's areas of the reference's box (of test's, if new). `agreement`
    is AP50-95 of test with those boxes of the reference as truths. With `truths`, `(xyxy px, classes)` per picture:
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
    weights = resampled(len(test), resamples, seed) if test else None
    pairs, singles = _pictures(reference, test, conf)
    if not len(pairs) and not singles[:, 2].any():
        raise ValueError(f"the reference has no box above {conf}, so there is nothing to compare; give other pictures.")
    drift, centre, size, jitter, flip, faded = pairs.T[2:8]

    def per_picture(owner, values):
        return weights @ np.bincount(owner.astype(int), values, len(test))

    found = {}
    for suffix, (low, high) in {"": (0, np.inf), **{f"/{k}": v for k, v in SIZES.items()}}.items():
        here, alone = ((rows[:, 1] >= low) & (rows[:, 1] < high) for rows in (pairs, singles))
        n = per_picture(pairs[:, 0], here)
        boxes = n + per_picture(singles[:, 0], alone * singles[:, 2])

        with np.errstate(invalid="ignore", divide="ignore"):

            def mean(values, n=n, here=here):
                return per_picture(pairs[:, 0], here * values) / n

            sums = {"iou_drift": mean(drift), "centre_shift": mean(centre), "size_shift": mean(size)}
            sums |= {"jitter_mean": mean(jitter), "jitter_abs": mean(np.abs(jitter))}
            sums["jitter_std"] = np.sqrt(np.maximum(mean(jitter**2) - mean(jitter) ** 2, 0))
            sums["flips"] = per_picture(pairs[:, 0], here * flip) / boxes
            sums["lost"] = (boxes - n + per_picture(pairs[:, 0], here * faded)) / boxes
            sums["new"] = per_picture(singles[:, 0], alone * singles[:, 3]) / boxes
        found |= {key + suffix: interval(values) for key, values in sums.items()}

    shown = [tuple(np.asarray(part)[np.asarray(r[1]) > conf] for part in r) for r in reference]
    found["agreement"] = interval(average_precision_samples(test, [(r[0], r[2]) for r in shown], weights))
    if truths is not None:
        scores = np.sort(np.concatenate([np.asarray(t[1]) for t in test]))[::-1]
        count = sum(len(r[1]) for r in shown)
        threshold = float(scores[min(count, len(scores) - 1)]) if len(scores) else conf
        cut = [[tuple(np.asarray(p)[np.asarray(t[1]) > c] for p in t) for t in test] for c in (conf, threshold)]
        ap = [average_precision_samples(d, truths, weights) for d in (reference, test, *cut)]
        found |= {"ap": interval(ap[1]), "ap_drop": interval(ap[0] - ap[1])}
        found |= {"ap_conf": interval(ap[2]), "ap_retuned": interval(ap[3])}
        found["threshold"] = Interval(threshold, threshold, threshold)
    return found
