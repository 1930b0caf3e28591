"""Boxes against boxes: overlap, suppression, matching."""

from __future__ import annotations

import numpy as np


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `a` (…×4) and `b` (…×4), xyxy, broadcast against each other.

    >>> float(box_iou(np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])).round(4))
    0.3333
    """
    corner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.clip(corner, 0, None).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return overlap / np.maximum(area - overlap, 1e-12)


def nms(xyxy, scores, classes, iou: float = 0.7, max_det: int = 300) -> np.ndarray:
    """Greedy class-wise non-maximum suppression: indices kept, best first; equal scores keep their order.

    >>> nms(np.array([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9.0]]), np.array([.9, .8, .7]), np.array([0, 0, 1]))
    array([0, 2])
    """
    order = np.argsort(-scores, kind="stable")
    keep = []
    while len(order) and len(keep) < max_det:
        best, order = order[0], order[1:]
        keep.append(best)
        same = classes[order] == classes[best]
        order = order[~(same & (box_iou(xyxy[order], xyxy[best]) > iou))]
    return np.array(keep, int)


def match(reference, test, iou: float = 0.5) -> list[tuple[int, int]]:
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
