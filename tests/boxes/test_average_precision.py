"""Average precision, against COCO's own rules."""

import numpy as np
import pytest

from helpers import boxes, vision


def test_ap_by_hand():
    box, far = np.array([[0, 0, 100, 100.0]]), np.array([[200, 200, 300, 300.0]])
    shifted = box - np.array([0, 0, 0, 26])  # IoU 0.74: right at 0.50 … 0.70, five of ten thresholds
    truth = [(box, np.array([0]))]
    assert vision.average_precision([(shifted, np.ones(1), np.zeros(1, int))], truth)["AP50-95"] == pytest.approx(0.5)
    assert vision.average_precision([(box, np.ones(1), np.ones(1, int))], truth)["AP50"] == 0  # another class
    two = (np.concatenate([far, box]), np.array([0.9, 0.8]), np.zeros(2, int))  # a false alarm ranked first
    assert vision.average_precision([two], truth)["AP50"] == pytest.approx(0.5)
    assert vision.average_precision([(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))], truth)["AP50"] == 0


def test_draws_are_with_replacement_and_the_first_is_the_images_as_they_are():
    draws = boxes.resampled(5, 300)
    assert draws.shape == (301, 5) and (draws[0] == 1).all() and (draws.sum(1) == 5).all()
    assert draws[1:].max() > 1 and abs(draws[1:].mean() - 1) < 1e-9
    np.testing.assert_array_equal(draws, boxes.resampled(5, 300))
    assert (boxes.resampled(5, 300, seed=1)[1:] != draws[1:]).any()


def test_an_interval_holds_the_middle_95_percent_of_the_draws():
    samples = np.append(7.0, np.linspace(0, 1, 1001))
    assert boxes.interval(samples) == pytest.approx((7.0, 0.025, 0.975))
    assert np.isnan(boxes.interval(np.array([0.5, np.nan]))[1:]).all(), "nothing was counted"
