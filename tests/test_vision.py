"""Pictures in, boxes out: geometry against arithmetic done by hand, AP against COCO's own rules."""

import numpy as np
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers import assets, vision


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([64, 320]))
def test_letterbox_keeps_the_aspect_and_its_gain_and_pad_lead_back(width, height, size):
    x, gain, (left, top) = vision.letterbox(Image.new("RGB", (width, height), "white"), size)
    assert x.shape == (1, 3, size, size) and x.dtype == np.float32
    white = np.argwhere(x[0, 0] == 1)
    (y0, x0), (y1, x1) = white.min(0), white.max(0) + 1
    assert (x0, y0) == (left, top)
    assert abs((x1 - x0) / gain - width) <= max(1, 1 / gain) and abs((y1 - y0) / gain - height) <= max(1, 1 / gain)
    assert max(x1 - x0, y1 - y0) == size


def test_letterbox_pads_with_grey_and_leaves_a_fitting_picture_alone():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal((vision.letterbox(noise, 64)[0][0] * 255).round(), noise.transpose(2, 0, 1))
    assert vision.letterbox(noise[:32], 64)[0][0, 0, 0, 0] == np.float32(114 / 255)


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


def test_ap_by_hand():
    box, far = np.array([[0, 0, 100, 100.0]]), np.array([[200, 200, 300, 300.0]])
    shifted = box - np.array([0, 0, 0, 26])  # IoU 0.74: right at 0.50 … 0.70, five of ten thresholds
    truth = [(box, np.array([0]))]
    assert vision.average_precision([(shifted, np.ones(1), np.zeros(1, int))], truth)["AP50-95"] == pytest.approx(0.5)
    assert vision.average_precision([(box, np.ones(1), np.ones(1, int))], truth)["AP50"] == 0  # another class
    two = (np.concatenate([far, box]), np.array([0.9, 0.8]), np.zeros(2, int))  # a false alarm ranked first
    assert vision.average_precision([two], truth)["AP50"] == pytest.approx(0.5)
    assert vision.average_precision([(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))], truth)["AP50"] == 0


def test_the_course_model_detects_what_is_there():
    ap = vision.evaluate(assets.model(), assets.images("validation")[:32])
    assert ap["AP50-95"] > 0.75 and ap["AP50"] > ap["AP50-95"]


def test_feeds_can_be_read_twice_and_hold_one_picture_at_a_time():
    feeds = vision.Feeds(assets.images()[:3], assets.model())
    first, second = [f["images"].sum() for f in feeds], [f["images"].sum() for f in feeds]
    assert first == second and len(set(first)) == 3


def test_detect_gives_pixels_of_the_picture_itself():
    picture = Image.open(assets.images("validation")[0])
    small = vision.Detector(assets.model()).detect(picture)[0]
    large = vision.Detector(assets.model()).detect(picture.resize((640, 640), Image.Resampling.BICUBIC))[0]
    assert np.abs(large[0] / 2 - small[0]).max() < 4


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(ValueError, match=r"broken\.jpg: cannot be read as a picture"):
        next(iter(vision.Feeds([tmp_path / "broken.jpg"])))
    whole = assets.images()[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.jpg: cannot be read as a picture"):
        vision.open_image(tmp_path / "cut.jpg")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg: no such picture"):
        vision.open_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ValueError, match="no pictures were given"):
        vision.Feeds([])
    with pytest.raises(FileNotFoundError, match="has no labels"):
        vision.labels(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix, order):
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(order)
    path = tmp_path / f"grey{suffix}"
    Image.fromarray(grey).save(path)
    for picture in (path, Image.open(path)):
        x = vision.letterbox(picture, 64)[0]
        np.testing.assert_allclose(x[0, 0, 8:56], grey / 65535, rtol=0, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_is_turned_as_its_tag_says(tmp_path, dtype, compression):
    grey = np.linspace(0, np.iinfo(dtype).max, 12).reshape(3, 4).astype(dtype)
    Image.fromarray(grey).save(tmp_path / "turned.tif", tiffinfo={274: 6}, compression=compression)
    found = np.asarray(vision.open_image(tmp_path / "turned.tif"))[..., 0] / 255
    np.testing.assert_allclose(found, np.rot90(grey, -1) / np.iinfo(dtype).max, atol=0.5 / 255 + 1e-6)


def test_pictures_whose_white_is_not_known_are_refused_by_name(tmp_path):
    for name, kind in (("float", np.float32), ("int", np.int32)):
        Image.fromarray(np.ones((8, 8), kind)).save(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match=rf"{name}\.tif: holds .*{name}.*; save it with 8 bits"):
            vision.open_image(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match=f"the picture given: holds .*{name}"):
            vision.open_image(Image.open(tmp_path / f"{name}.tif"))
    Image.fromarray(np.ones((8, 8), np.uint16)).save(tmp_path / "grey.tif")
    for tag, value, what in ((258, (12,), "12-bit grey"), (262, 0, "inverted 16-bit grey")):
        picture = Image.open(tmp_path / "grey.tif")
        picture.tag_v2[tag] = value
        with pytest.raises(ValueError, match=f"holds {what}"):
            vision.open_image(picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_usual_kind_of_pixel_has_the_same_mean(tmp_path, mode):
    grey = Image.fromarray(np.repeat(np.uint8([[0, 255]]), [20, 30], 1).repeat(50, 0))
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    grey.convert("RGB" if mode in ("CMYK", "YCbCr") else mode).convert(mode).save(path)
    assert np.asarray(vision.open_image(path)).mean() / 255 == pytest.approx(0.6, abs=0.005)


def test_a_model_that_takes_no_square_picture_is_refused(tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,H,32] x) => (float[1,3,H,32] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    for refused in (vision.Detector, lambda path: vision.Feeds(assets.images()[:1], path)):
        with pytest.raises(ValueError, match=r"relu\.onnx: input 'x' is 1×3×H×32"):
            refused(tmp_path / "relu.onnx")
