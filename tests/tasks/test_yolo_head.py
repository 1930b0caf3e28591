"""The head cut: boxes and scores apart, and no detection changes."""

import numpy as np

from helpers import assets, graph, qdq, session, vision


def test_the_cut_head_gives_boxes_and_scores_per_stride_and_changes_no_detection(cut):
    shapes = [tuple(o.shape) for o in session.load(cut).get_outputs()]
    classes = shapes[1][1]
    assert shapes == [s for n in (40, 20, 10) for s in ((1, 64, n, n), (1, classes, n, n))]
    picture = assets.images("validation")[0]
    whole, parts = (vision.Detector(m).detect(picture) for m in (assets.model(), cut))
    assert len(whole[0]) and len(whole[0]) == len(parts[0])
    np.testing.assert_allclose(parts[0], whole[0], atol=0.01)
    np.testing.assert_allclose(parts[1], whole[1], atol=1e-4)
    np.testing.assert_array_equal(parts[2], whole[2])


def test_cutting_twice_changes_nothing(cut, tmp_path):
    again = graph.read_model(qdq.split_head(cut, tmp_path / "again.onnx"))
    assert [o.name for o in again.graph.output] == [o.name for o in graph.read_model(cut).graph.output]


def test_the_whole_head_makes_every_score_zero(work):
    """The failure that the cut repairs: one 8-bit scale over boxes and scores leaves no score above half a step."""
    from helpers import calibrate

    feeds = vision.Feeds(assets.images("calibration")[:2], assets.model())
    found = calibrate.ranges(calibrate.observe(assets.model(), feeds), "minmax")
    whole = qdq.quantize_model(assets.model(), work / "whole.onnx", found)
    output = session.load(whole).run(None, next(iter(feeds)))[0]
    assert output[0, 4:].max() == 0.0
    assert output[0, :4].max() > 100
