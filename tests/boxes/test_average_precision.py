"""Average precision, against COCO's own rules."""

import numpy as np
import pytest

from helpers import vision


def test_ap_by_hand():
    box, far = np.array([[0, 0, 100, 100.0]]), np.array([[200, 200, 300, 300.0]])
    shifted = box - np.array([0, 0, 0, 26])  # IoU 0.74: right at 0.50 … 0.70, five of ten thresholds
    truth = [(box, np.array([0]))]
    assert vision.average_precision([(shifted, np.ones(1), np.zeros(1, int))], truth)["AP50-95"] == pytest.approx(0.5)
    assert vision.average_precision([(box, np.ones(1), np.ones(1, int))], truth)["AP50"] == 0  # another class
    two = (np.concatenate([far, box]), np.array([0.9, 0.8]), np.zeros(2, int))  # a false alarm ranked first
    assert vision.average_precision([two], truth)["AP50"] == pytest.approx(0.5)
    assert vision.average_precision([(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))], truth)["AP50"] == 0
