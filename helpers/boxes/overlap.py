"""Boxes against boxes: overlap, suppression, matching."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Detections = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes N×4 (x0, y0, x1, y1 in px), scores N, classes N
Truth = tuple[np.ndarray, np.ndarray]  # the true boxes, N×4 px, and their classes, N


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `a` (…×4) and `b` (…×4), xyxy in one unit, broadcast against each other.

    |a ∩ b| / |a ∪ b|, in 0…1; 0 where both are empty.

    >>> float(box_iou(np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])).round(4))
    0.3333
    """
    corner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.clip(corner, 0, None).prod(-1)
    area = box_area(a) + box_area(b)
    return overlap / np.maximum(area - overlap, 1e-12)


def box_area(xyxy: np.ndarray) -> np.ndarray:
    """(x1 − x0)·(y1 − y0) of boxes …×4, in squared units."""
    return (xyxy[..., 2:] - xyxy[..., :2]).prod(-1)


def above(detections: Detections, conf: float) -> Detections:
    """Those with a score above `conf`, in their order.

    >>> above((np.zeros((2, 4)), np.array([0.9, 0.1]), np.array([3, 4])), 0.25)[2]
    array([3])
    """
    xyxy, scores, classes = (np.asarray(part) for part in detections)
    kept = scores > conf
    return xyxy[kept], scores[kept], classes[kept]


def rotated_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ProbIoU of rotated boxes …×5 (centre, width, height in one unit, angle in radians), in 0…1, broadcast.

    Each box is the normal distribution with its mean and covariance R·diag(w², h²)/12·Rᵀ; of two of them with
    Bhattacharyya distance B it is 1 − √(1 − e⁻ᴮ). Source: Llerena et al., "Gaussian Bounding Boxes and
    Probabilistic Intersection-over-Union for Object Detection", 2021.

    >>> upright, turned = np.array([0, 0, 4, 2, 0.0]), np.array([0, 0, 2, 4, np.pi / 2])
    >>> float(rotated_iou(upright, turned).round(3)), float(rotated_iou(upright, upright + [9, 0, 0, 0, 0]).round(3))
    (1.0, 0.0)
    """
    (xx_a, yy_a, xy_a), (xx_b, yy_b, xy_b) = _covariance(a), _covariance(b)
    dx, dy = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
    xx, yy, xy = xx_a + xx_b, yy_a + yy_b, xy_a + xy_b
    det = np.maximum(xx * yy - xy * xy, 1e-12)
    own = np.maximum(xx_a * yy_a - xy_a * xy_a, 0) * np.maximum(xx_b * yy_b - xy_b * xy_b, 0)
    distance = (xx * dy * dy + yy * dx * dx - 2 * xy * dx * dy) / (4 * det)
    distance = distance + 0.5 * np.log(np.maximum(det / (4 * np.sqrt(np.maximum(own, 1e-24))), 1e-12))
    return 1 - np.sqrt(np.clip(1 - np.exp(-np.clip(distance, 0, 100)), 0, 1))


def _covariance(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(xx, yy, xy) of a rotated box as a normal distribution."""
    u, v = boxes[..., 2] ** 2 / 12, boxes[..., 3] ** 2 / 12
    cos, sin = np.cos(boxes[..., 4]), np.sin(boxes[..., 4])
    return u * cos * cos + v * sin * sin, u * sin * sin + v * cos * cos, (u - v) * cos * sin


def nms(
    xyxy: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    iou: float = 0.7,
    max_det: int = 300,
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray] = box_iou,
) -> np.ndarray:
    """Greedy class-wise non-maximum suppression: indices kept, best first; equal scores keep their order.

    The best box is kept and removes those of its class that `overlap` it by more than `iou`; so on, `max_det` times.

    >>> nms(np.array([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9.0]]), np.array([.9, .8, .7]), np.array([0, 0, 1]))
    array([0, 2])
    """
    order = np.argsort(-scores, kind="stable")
    keep: list[int] = []
    while len(order) and len(keep) < max_det:
        best, order = order[0], order[1:]
        keep.append(best)
        same = classes[order] == classes[best]
        order = order[~(same & (overlap(xyxy[order], xyxy[best]) > iou))]
    return np.array(keep, int)


def match(reference: Detections, test: Detections, iou: float = 0.5) -> list[tuple[int, int]]:
    """Pairs (i, j) of boxes of one class that overlap by at least `iou`, one to one, largest overlap first.

    >>> boxes = np.array([[0, 0, 9, 9], [20, 20, 29, 29.0]])
    >>> match((boxes, np.ones(2), np.zeros(2)), (boxes[1:], np.ones(1), np.zeros(1)))
    [(1, 0)]
    """
    overlap = box_iou(reference[0][:, None], test[0][None])
    overlap = np.where(reference[2][:, None] == test[2][None], overlap, 0)
    pairs = []
    while overlap.size and overlap.max() >= iou:
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((int(i), int(j)))
        overlap[i], overlap[:, j] = 0, 0
    return pairs
