"""From a head's outputs to boxes, against arithmetic done by hand."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx.parser
import pytest
from PIL import Image

from helpers import assets, calibrate, graph, session, tasks, vision

DETECTION = tasks.named("detection")


def test_decode_places_a_box_where_dfl_says():
    box, score = np.full((1, 64, 4, 4), -50.0, np.float32), np.full((1, 2, 4, 4), -9.0, np.float32)
    for side, bin_ in enumerate((1, 2, 1, 3)):  # left, top, right, bottom in strides
        box[0, side * 16 + bin_, 2, 1] = 50
    score[0, 1, 2, 1] = 0  # class 1 at column 1, row 2
    xyxy, scores, classes = vision.decode([box, score], 32, 0.25)
    np.testing.assert_allclose(xyxy, [[(1.5 - 1) * 8, (2.5 - 2) * 8, (1.5 + 1) * 8, (2.5 + 3) * 8]])
    assert scores == [0.5] and classes == [1]


def test_dfl_is_an_expectation_not_an_argmax():
    box, score = np.full((1, 64, 1, 1), -50.0, np.float32), np.zeros((1, 1, 1, 1), np.float32)
    box[0, [0, 3, 16, 32, 48]] = 50  # the left side is half at 0, half at 3
    assert vision.decode([box, score], 8, 0.1)[0][0, 0] == pytest.approx((0.5 - 1.5) * 8)


def test_the_course_model_detects_what_is_there():
    ap = vision.evaluate(assets.model(), assets.images("validation")[:32])
    assert ap["AP50-95"] > 0.75 and ap["AP50"] > ap["AP50-95"]


def test_detect_gives_pixels_of_the_picture_itself():
    picture = Image.open(assets.images("validation")[0])
    small = vision.Detector(assets.model()).detect(picture)[0]
    large = vision.Detector(assets.model()).detect(picture.resize((640, 640), Image.Resampling.BICUBIC))[0]
    assert np.abs(large[0] / 2 - small[0]).max() < 4


def test_a_model_that_takes_no_square_picture_is_refused(tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,H,32] x) => (float[1,3,H,32] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    for refused in (vision.Detector, lambda path: vision.Feeds(assets.images()[:1], path)):
        with pytest.raises(ValueError, match=r"relu\.onnx: input 'x' is 1×3×H×32"):
            refused(tmp_path / "relu.onnx")


def test_class_scores_are_the_same_whole_and_cut(cut):
    feed = next(iter(vision.Feeds(assets.images()[:1], cut)))
    whole, parts = (vision.class_scores(session.load(m).run(None, feed)) for m in (assets.model(), cut))
    assert whole.shape == parts.shape and whole.max() > 0.5
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_rows_tell_what_became_of_each_box():
    one = np.float64([[0, 0, 10, 10], [20, 0, 30, 10], [50, 0, 60, 10]]), np.array([0.9, 0.6, 0.1]), np.array([0, 1, 1])
    two = np.float64([[0, 0, 10, 8]]), np.array([0.5]), np.array([0])
    head, *rows = DETECTION.rows(one, two, {0: "cup"})
    assert len(head) == 4 and rows == [("cup", "0.900 → 0.500", "-0.400", "0.800"), (1, "0.600 → none", "lost", "–")]
    assert DETECTION.count(one) == 2 and DETECTION.change(one, two) == pytest.approx(0.4)
    assert DETECTION.change(one, one) == 0


def test_outputs_have_ranges_of_their_own_and_the_boxes_go_wide_first(cut):
    model = graph.Model.of(cut)
    boxes, scores = model.outputs[::2], model.outputs[1::2]
    histograms = {t: calibrate.Histogram().update(np.float32([-9, 3])) for t in model.outputs}
    expected = dict.fromkeys(boxes, (-4.0, 3.0)) | dict.fromkeys(scores, (-7.0, 3.5))
    assert DETECTION.output_ranges(model, histograms) == expected
    assert DETECTION.wide_first(model) == [boxes]


def test_evaluate_by_workers_is_evaluate(cut):
    images = assets.images("validation")[:10]
    with ThreadPoolExecutor(2) as executor:
        assert vision.evaluate(cut, images, executor=executor) == vision.evaluate(cut, images)
