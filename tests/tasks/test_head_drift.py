"""How far a head's outputs moved, without labels."""

import numpy as np
import pytest

from helpers import assets, session, tasks, vision
from helpers.tasks.drift import Seen


def seen(cut, feed):
    """[(stride px, its outputs, places, classes, scores, sides)] of what the float model sees in one feed."""
    outputs = session.load(cut, optimize=True).run(None, feed)
    for k, (at, best, score, sides) in enumerate(tasks.reference_outputs(cut, [feed])[0]):
        yield 320 / outputs[2 * k].shape[-1], outputs[2 * k : 2 * k + 2], at, best, score, sides


def corners(stride, at, sides):
    """Boxes xyxy px around the middles of cells, from distances in cells."""
    centre = (np.stack([at[1], at[0]], 1) + 0.5) * stride
    return np.concatenate([centre - sides[:, :2] * stride, centre + sides[:, 2:] * stride], 1)


def test_what_is_seen_is_what_decoding_gives(cut):
    feed = next(iter(vision.Feeds(assets.images()[:1], cut)))
    count = 0
    for stride, outputs, at, best, score, sides in seen(cut, feed):
        xyxy, scores, classes = vision.decode(outputs, 320, 0.09)
        for k, box in enumerate(corners(stride, at, sides)):
            same = (classes == best[k]) & np.isclose(scores, score[k])
            assert np.isclose(xyxy[same], box).all(1).any()
            count += 1
    assert count


def test_drift_is_that_of_the_decoded_boxes(cut):
    """Against a reference whose right sides are one cell further and whose scores are half as high."""
    feed = next(iter(vision.Feeds(assets.images()[:1], cut)))
    moved, overlap, change = [], [], []
    for stride, _, at, best, score, sides in seen(cut, feed):
        further = sides + np.float64([0, 0, 1, 0])
        moved.append(Seen(at, best, score / 2, further))
        overlap.append(vision.box_iou(corners(stride, at, sides), corners(stride, at, further)))
        change.append(score / 2)
    drift = tasks.drift_against([moved], cut, [feed])
    assert drift.box == pytest.approx(1 - np.concatenate(overlap).mean(), rel=1e-6)
    assert drift.score == pytest.approx(np.concatenate(change).mean(), rel=1e-6)
    assert drift.total == drift.box + drift.score
