"""Boxes against boxes: suppression against its definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helpers import vision


def slow_nms(xyxy, scores, classes, iou):
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(classes[i] != classes[j] or vision.box_iou(xyxy[i], xyxy[j]) <= iou for j in kept):
            kept.append(i)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.floats(0.1, 0.9))
def test_nms_equals_the_definition(seed, n, iou):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 20, (n, 2))], 1)
    scores, classes = rng.integers(0, 8, n) / 8, rng.integers(0, 3, n)
    assert vision.nms(boxes, scores, classes, iou).tolist() == slow_nms(boxes, scores, classes, iou)
    assert len(vision.nms(boxes, scores, classes, iou, max_det=3)) <= 3
