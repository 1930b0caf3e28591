"""Boxes against boxes: suppression against its definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helpers import vision
from helpers.boxes.overlap import box_area


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


def test_areas_and_overlaps_by_hand():
    a, b = np.float64([[0, 0, 4, 2], [1, 1, 1, 1]]), np.float64([[2, 0, 6, 2], [5, 5, 6, 6]])
    np.testing.assert_allclose(box_area(a), [8, 0])
    np.testing.assert_allclose(vision.box_iou(a, b), [4 / 12, 0])
    np.testing.assert_allclose(vision.box_iou(a[:, None], b), [[4 / 12, 0], [0, 0]])


def test_a_match_is_of_one_class_and_the_best_overlap_goes_first():
    a = np.float64([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0.9, 0.8]), np.array([0, 1])
    b = np.float64([[1, 0, 11, 10], [0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0.9, 0.3, 0.9]), np.array([0, 0, 2])
    assert [tuple(map(int, pair)) for pair in vision.match(a, b)] == [(0, 1)], "the third box is of another class"
