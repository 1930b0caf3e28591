"""Boxes against boxes: overlap, suppression, matching, and COCO's average precision."""

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
