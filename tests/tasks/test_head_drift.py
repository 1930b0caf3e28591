"""How far a head's outputs moved, without labels."""

import numpy as np

from helpers import assets, qdq, session, vision
from helpers.tasks import head_drift


def test_drift_is_that_of_the_decoded_boxes(tmp_path):
    fp32 = qdq.split_head(assets.model(), tmp_path / "fp32.onnx")
    feed = next(iter(vision.Feeds(assets.images()[:1], fp32)))
    outputs = session.load(fp32).run(None, feed)
    seen = head_drift._seen(outputs)
    k = max(range(3), key=lambda k: len(seen[k][2]))
    at, best, score, sides = seen[k]
    xyxy, scores, classes = vision.decode(outputs[2 * k : 2 * k + 2], 320, 0.09)
    stride = 320 / outputs[2 * k].shape[-1]
    centre = (np.stack([at[1], at[0]], 1) + 0.5) * stride
    mine = np.concatenate([centre - sides[:, :2] * stride, centre + sides[:, 2:] * stride], 1)
    assert len(mine)
    for k, box in enumerate(mine):
        same = (classes == best[k]) & np.isclose(scores, score[k])
        assert np.isclose(xyxy[same], box).all(1).any()
    moved = sides + np.float64([0, 0, 1, 0])
    whole = np.concatenate([mine[:, :2], mine[:, 2:] + np.float64([stride, 0])], 1)
    np.testing.assert_allclose(head_drift._iou(sides, moved), vision.box_iou(mine, whole), rtol=1e-6)
