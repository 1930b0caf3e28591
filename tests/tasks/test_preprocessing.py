"""From a picture to a model's input: numbers done by hand, proposals by shape, and one way for all who make inputs."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from small_models import classifier, detector, segmenter, written

from helpers import assets, graph, qdq, tasks, vision
from helpers.tasks.interface import Interface
from helpers.tasks.preprocessing import KEY, Preprocessing, fit
from helpers.tasks.proposal import preprocessing

TEXTS = {
    "picture": "g (float[1,3,6,4] x) => (float[1,3,6,4] y) { y = Relu(x) }",
    "last": "g (float[1,6,4,3] x) => (float[1,6,4,3] y) { y = Relu(x) }",
    "grey": "g (float[1,1,6,4] x) => (float[1,1,6,4] y) { y = Relu(x) }",
    "both": "g (float[1,3,6,3] x) => (float[1,3,6,3] y) { y = Relu(x) }",
    "half": "g (float16[1,3,6,4] x) => (float16[1,3,6,4] y) { y = Relu(x) }",
    "bytes": "g (uint8[1,3,6,4] x) => (float[1,3,6,4] y) { y = Cast<to=1>(x) }",
    "1000": "g (float[1,3,6,4] x) => (float[1,1000] y) { f = Flatten(x) y = MatMul(f, w) }",
    "224": "g (float[1,3,224,224] x) => (float[1,5,1,1] y) { p = GlobalAveragePool(x) y = Conv(p, w) }",
    "sound": "g (float[1,16000] x) => (float[1,16000] y) { y = Relu(x) }",
    "batch": "g (float[2,3,6,4] x) => (float[2,3,6,4] y) { y = Relu(x) }",
    "numbers": "g (int64[1,3,6,4] x) => (float[1,3,6,4] y) { y = Cast<to=1>(x) }",
    "two": "g (float[1,3,6,4] a, float[1,3,6,4] b) => (float[1,3,6,4] y) { y = Add(a, b) }",
}
WEIGHTS = {"1000": {"w": (72, 1000)}, "224": {"w": (5, 3, 1, 1)}}


def proposed(tmp_path, name, **metadata) -> Preprocessing:
    path = written(tmp_path / f"{name}.onnx", TEXTS[name], WEIGHTS.get(name))
    return preprocessing(Interface.of(graph.Model.of(path).with_metadata(metadata)))


RED = Image.new("RGB", (4, 6), (255, 0, 51))


def test_each_setting_does_what_it_says():
    plain = Preprocessing("x", (6, 4))
    assert plain(RED).x.shape == (1, 3, 6, 4) and plain(RED).x.dtype == np.float32
    np.testing.assert_array_equal(plain(RED).x[0, :, 0, 0], np.float32([1, 0, 51 / 255]))
    pixel = {
        (("color", "bgr"),): [0.2, 0, 1],
        (("range", "0..255"),): [255, 0, 51],
        (("mean", (0.5,)), ("std", (0.25,))): [2, -2, -1.2],
        (("mean", (1.0, 0.0, 0.2)), ("std", (1.0, 2.0, 0.1))): [0, 0, 0],
        (("color", "bgr"), ("mean", (0.2, 0.0, 0.0))): [0, 0, 1],  # in the order in which the model sees them
    }
    for settings, expected in pixel.items():
        np.testing.assert_allclose(plain.changed(dict(settings))(RED).x[0, :, 3, 2], expected, atol=1e-6)
    last = plain.changed({"layout": "nhwc"})(RED).x
    assert last.shape == (1, 6, 4, 3) and last[0, 3, 2].tolist() == plain(RED).x[0, :, 3, 2].tolist()
    grey = Preprocessing("x", (6, 4), channels=1)(Image.new("RGB", (4, 6), (100, 100, 100)))
    assert grey.x.shape == (1, 1, 6, 4) and grey.x.max() == np.float32(100 / 255)
    assert Preprocessing("x", (6, 4), dtype="uint8", range="0..255")(RED).x[0, :, 0, 0].tolist() == [255, 0, 51]


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
def test_points_go_where_gain_and_offset_say(resize):
    """A white dot on black, at 1/4 of a wide picture's width and 3/4 of its height."""
    wide = Image.new("RGB", (80, 40))
    wide.paste((255, 255, 255), (26, 28, 30, 32))
    canvas, gain, offset = fit(wide, (40, 40), resize, around=(0, 0, 0))
    y, x = (where.mean() for where in np.nonzero(np.asarray(canvas)[..., 0] > 100))
    np.testing.assert_allclose((x + 0.5, y + 0.5), np.multiply((28, 30), gain) + offset, atol=0.6)
    assert canvas.size == (40, 40) and {"letterbox": gain[0] == 0.5, "stretch": gain == (0.5, 1.0),
                                        "crop": gain == (1.0, 1.0) and offset == (-20, 0)}[resize]  # fmt: skip


def test_what_contradicts_itself_is_one_sentence():
    plain = Preprocessing("x", (6, 4))
    cases = {
        r"mean 1, 2: input 'x' has 3 channels; give one finite number": (plain, {"mean": (1.0, 2.0)}),
        r"std 0: give numbers above 0": (plain, {"std": (0.0,)}),
        r"mean nan": (plain, {"mean": (float("nan"),)}),
        r"color 'hsv' is unknown; choose one of rgb, bgr": (plain, {"color": "hsv"}),
        r"one channel, grey; leave the colour out": (Preprocessing("x", (6, 4), 1), {"color": "bgr"}),
        r"is uint8 and takes pixels as they are": (
            Preprocessing("x", (6, 4), dtype="uint8", range="0..255"),
            {"mean": (0.5,)},
        ),
    }
    for message, (before, settings) in cases.items():
        with pytest.raises(ValueError, match=message):
            before.changed(settings)


def test_a_proposal_follows_metadata_then_shape(tmp_path):
    assert str(proposed(tmp_path, "picture")).startswith("letterbox to 6×4, RGB, nchw, 0..1 (nothing says how")
    assert proposed(tmp_path, "last").layout == "nhwc" and proposed(tmp_path, "last").shape == (1, 6, 4, 3)
    assert proposed(tmp_path, "grey").channels == 1 and proposed(tmp_path, "half").dtype == "float16"
    assert proposed(tmp_path, "bytes").range == "0..255"
    for name, side in (("1000", (6, 4)), ("224", (224, 224))):
        found = proposed(tmp_path, name)
        assert (found.resize, found.mean, found.size) == ("crop", (0.485, 0.456, 0.406), side)
        assert "ImageNet" in str(found) and "minus 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225" in str(found)
    ultralytics = proposed(tmp_path, "224", author="Ultralytics", task="classify")
    assert (ultralytics.resize, ultralytics.mean) == ("crop", (0.0,)) and "Ultralytics" in ultralytics.source
    assert proposed(tmp_path, "picture", author="Ultralytics", task="detect").resize == "letterbox"
    assert proposed(tmp_path, "picture", author="Ultralytics", description="RT-DETR-l").resize == "stretch"
    path = segmenter(tmp_path / "s.onnx")
    assert preprocessing(Interface.of(graph.Model.of(path))).resize == "stretch"


@pytest.mark.parametrize("name", ["sound", "batch", "numbers", "two"])
def test_a_model_that_takes_no_picture_says_what_it_takes(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name}|the model") as caught:
        proposed(tmp_path, name)
    assert "numpy.savez" in str(caught.value) and "input '" in str(caught.value)


def test_settings_stand_in_the_metadata_and_are_used_ever_after(tmp_path):
    path = written(tmp_path / "net.onnx", TEXTS["picture"])
    asked = {"mean": (0.5,), "std": (0.25,), "color": "bgr", "resize": "stretch"}
    settled = tasks.settle(path, assets.images()[:1], settings=asked)
    record = json.loads(settled.metadata[KEY])
    assert record["mean"] == [0.5] and record["color"] == "bgr" and record["source"] == "as you asked"
    settled.save(tmp_path / "settled.onnx")
    picture = assets.images()[0]
    expected = tasks.settled(tmp_path / "settled.onnx")(picture).x
    assert expected.min() < -0.5
    feeds = tasks.named("tensors").feeds([picture], tmp_path / "settled.onnx")
    np.testing.assert_array_equal(feeds[0]["x"], expected)
    results = tasks.named("tensors").runner(tmp_path / "settled.onnx").results(picture)
    np.testing.assert_array_equal(results["y"], np.maximum(expected, 0))
    assert tasks.settle(settled, [picture]).metadata == settled.metadata, "what is settled stays"


def test_a_layout_that_a_shape_leaves_open_is_taken_as_asked(tmp_path):
    path = written(tmp_path / "both.onnx", TEXTS["both"])
    asked = tasks.settled(tasks.settle(path, assets.images()[:1], settings={"layout": "nhwc"}))
    assert (asked.layout, asked.size, asked.channels, asked.shape) == ("nhwc", (3, 6), 3, (1, 3, 6, 3))
    with pytest.raises(ValueError, match=r"'x' is 1×3×6×4, whose layout is not nhwc"):
        tasks.settle(written(tmp_path / "p.onnx", TEXTS["picture"]), assets.images()[:1], settings={"layout": "nhwc"})


def test_arrays_have_no_preprocessing(tmp_path):
    model, inputs = classifier(tmp_path)
    found = sorted(inputs.iterdir())
    assert tasks.settled(tasks.settle(model, found)) is None
    with pytest.raises(ValueError, match=r"--mean: only for pictures, and .*0\.npy is fed as it is"):
        tasks.settle(model, found, settings={"mean": (0.5,)})


def test_metadata_that_is_not_ours_names_the_model(tmp_path):
    path = written(tmp_path / "net.onnx", TEXTS["picture"])
    for text in ("no JSON", "[]", '{"mean": 1}', '{"mean": [0], "std": [1], "colour": "rgb"}'):
        graph.Model.of(path).with_metadata({KEY: text}).save(tmp_path / "bad.onnx")
        with pytest.raises(ValueError, match=rf"bad\.onnx: its metadata '{KEY}' is not what `quantize` writes"):
            vision.Feeds(assets.images()[:1], tmp_path / "bad.onnx")


def test_a_detector_sees_what_it_was_settled_to_see(tmp_path):
    """With blue and red exchanged in the picture and in the settings, its boxes stay; stretched they stay in px."""
    swapped = Image.fromarray(np.asarray(Image.open(assets.crowded_scene()).convert("RGB"))[..., ::-1])
    before = vision.Detector(assets.model()).detect(assets.crowded_scene())
    tasks.settle(assets.model(), assets.images()[:1], settings={"color": "bgr"}).save(tmp_path / "bgr.onnx")
    after = vision.Detector(tmp_path / "bgr.onnx").detect(swapped)
    assert len(before[1]) == len(after[1]) > 5
    np.testing.assert_allclose(before[0], after[0], atol=1e-3)
    tasks.settle(assets.model(), assets.images()[:1], settings={"resize": "stretch"}).save(tmp_path / "flat.onnx")
    wide = Image.open(assets.crowded_scene()).resize((640, 320), Image.Resampling.BILINEAR)
    boxes = vision.Detector(tmp_path / "flat.onnx").detect(wide)[0]
    np.testing.assert_allclose(boxes[0] / [2, 1, 2, 1], before[0][0], atol=4)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_any_mode_that_pillow_reads_becomes_an_input(mode, tmp_path):
    picture = Image.new("RGB", (8, 8), "white")
    image = Image.fromarray(np.full((8, 8), 65535, np.uint16)) if mode == "I;16" else picture.convert(mode)
    path = tmp_path / ("white.tif" if mode in ("CMYK", "LA") else "white.png")
    image.save(path)
    assert Preprocessing("x", (8, 8))(path).x.min() > 0.99


def test_a_folder_holds_pictures_or_arrays(tmp_path):
    for k, suffix in enumerate((".png", ".npz")):
        folder = tmp_path / "mixed" / f"{k}"
        folder.mkdir(parents=True)
        (folder / f"a{suffix}").touch()
    for name in ("tensors", "classification", "segmentation", "detection"):
        with pytest.raises(ValueError, match=r"mixed: holds 1 pictures and 1 \.npz or \.npy files"):
            tasks.named(name).inputs(tmp_path / "mixed")
        assert tasks.named(name).inputs(tmp_path / "mixed" / "0") == [tmp_path / "mixed" / "0" / "a.png"]
    with pytest.raises(ValueError, match=r"1: holds 1 \.npz or \.npy files, and this task takes pictures"):
        tasks.named("detection").inputs(tmp_path / "mixed" / "1")


def test_metadata_goes_with_the_quantized_model(tmp_path):
    """Through the quantizer of ONNX Runtime and the cut of a head."""
    model = tasks.settle(detector(tmp_path / "small.onnx"), assets.images()[:1], settings={"mean": (0.1,)})
    made = qdq.calibrate_and_quantize(model, assets.images()[:1], tmp_path, "minmax")
    for path in (made.fp32, made.int8):
        assert onnx.load(path).metadata_props and tasks.settled(path).mean == (0.1,)
        assert tasks.recognise(path).name == "detection"
