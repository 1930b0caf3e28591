"""A class for each pixel: mean IoU by hand, masks beside pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from small_models import segmenter, written

from helpers import assets, tasks
from helpers.__main__ import main
from helpers.tasks.segmentation import IGNORED, Mask, mask_of, read_mask

TASK = tasks.named("segmentation")
SHAPES = assets.DATA / "segmentation"


def mask(*rows):
    classes = np.uint8(rows)
    return Mask(classes, 3, classes.shape, "stretch")


@pytest.mark.parametrize(("channels", "name"), [(2, "segmentation"), (4, "segmentation"), (3, "tensors")])
def test_it_is_recognised_by_its_one_output(channels, name, tmp_path):
    assert tasks.recognise(segmenter(tmp_path / "net.onnx", channels)).name == name


def test_features_and_pictures_are_no_masks(tmp_path):
    deep = "g (float[1,3,64,64] x) => (float[1,8,4,4] y) { y = Conv<strides=[16,16]>(x, w) }"
    assert tasks.recognise(written(tmp_path / "deep.onnx", deep, {"w": (8, 3, 1, 1)})).name == "tensors"
    last = "g (float[1,8,8,3] x) => (float[1,8,8,5] y) { y = MatMul(x, w) }"
    path = written(tmp_path / "last.onnx", last, {"w": (3, 5)})
    assert tasks.recognise(path).name == "segmentation"
    assert TASK.runner(path).results(assets.images()[0]).classes.shape == (8, 8)


def test_results_are_the_best_class_of_each_pixel(tmp_path):
    path, picture = segmenter(tmp_path / "net.onnx"), assets.images()[0]
    raw = tasks.named("tensors").runner(path).results(picture)["y"]
    found = TASK.runner(path).results(picture)
    np.testing.assert_array_equal(found.classes, raw[0].argmax(0))
    assert found.known == 4 and found.size == (16, 24) and found.resize == "stretch"


def test_agreement_by_hand():
    """Class 0: 2 of 3 pixels; class 1: 1 of 2; class 2: 1 of 1 in the second input; 5 of 6 pixels equal."""
    reference, test = [mask([0, 0, 0], [1, 1, 1]), mask([2, 2, 2])], [mask([0, 0, 1], [1, 1, 1]), mask([2, 2, 2])]
    found = TASK.agreement(reference, test)
    assert found["mask_iou"].value == pytest.approx((2 / 3 + 3 / 4 + 1) / 3)
    assert found["pixels"].value == pytest.approx(8 / 9)
    assert set(found) == set(TASK.shown) and set(TASK.history) <= set(found)
    assert TASK.change(reference[0], test[0]) == pytest.approx(1 / 6) and TASK.count(reference[0]) == 2
    assert TASK.rows(reference[0], test[0], {1: "star"})[2] == ("star", "3 → 4", "0.750")
    figure = TASK.picture("none.npz", reference[0], test[0], {})
    assert figure.get_suptitle().startswith("83.33 % of the pixels keep their class") and len(figure.axes) == 3


def test_masks_lie_beside_the_pictures(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "images" / "a.png")
    with pytest.raises(FileNotFoundError, match=r"a\.png: has no mask; masks are PNGs in a folder masks/ beside"):
        mask_of(tmp_path / "images" / "a.png")
    Image.fromarray(np.uint8([[0, 1, 255]])).save(tmp_path / "masks" / "a.png")
    assert mask_of(tmp_path / "images" / "a.png") == tmp_path / "masks" / "a.png"
    assert TASK.inputs(tmp_path) == [tmp_path / "images" / "a.png"], "a mask is no input"


def test_a_score_leaves_out_what_does_not_count(tmp_path):
    Image.fromarray(np.uint8([[0, 1, 1], [2, IGNORED, 2]])).save(tmp_path / "m.png")
    found = TASK.score_results([mask([0, 1, 0], [2, 1, 2])], [tmp_path / "m.png"])
    assert found == {"mIoU": pytest.approx((1 / 2 + 1 / 2 + 1) / 3), "pixels": pytest.approx(4 / 5)}
    coarse = Mask(np.uint8([[1]]), 3, (2, 3), "stretch")  # an output smaller than the input
    assert TASK.score_results([coarse], [tmp_path / "m.png"])["pixels"] == pytest.approx(2 / 5)


def test_a_mask_goes_the_way_of_its_picture(tmp_path):
    Image.fromarray(np.uint8([[1, 1, 2, 2]])).save(tmp_path / "m.png")
    like = Mask(np.zeros((4, 4), np.uint8), 3, (4, 4), "letterbox")
    found = read_mask(tmp_path / "m.png", like)
    assert (found == IGNORED).sum() == 12 and sorted(found[found != IGNORED].tolist()) == [1, 1, 2, 2]
    assert set(np.unique(read_mask(tmp_path / "m.png", like._replace(resize="stretch")))) == {1, 2}


def test_what_is_no_mask_is_named(tmp_path):
    cases = {
        "holds class 7, and the model has 3": np.uint8([[7, 0]]),
        "holds only 0 and 255": np.uint8([[0, 255]]),
        "has several channels": np.zeros((2, 2, 3), np.uint8),
    }
    for message, pixels in cases.items():
        Image.fromarray(pixels).save(tmp_path / "m.png")
        with pytest.raises(ValueError, match=rf"m\.png: {message}"):
            read_mask(tmp_path / "m.png", mask([0, 0]))


def test_a_model_without_masks_is_refused_by_its_name(tmp_path):
    path = written(tmp_path / "net.onnx", "g (float[1,3,4,4] x) => (float[1,48] y) { y = Flatten(x) }")
    for refuse in (lambda: TASK.prepare(path, tmp_path / "out.onnx"), lambda: TASK.runner(path)):
        with pytest.raises(ValueError, match=r"net\.onnx: is no segmentation: its first output is not 1×K×H×W"):
            refuse()


def test_a_trained_segmentation_goes_through_both_doors(tmp_path, capsys):
    out, model = tmp_path / "out", assets.DATA / "shapes_segmenter.onnx"
    command = ["quantize", str(model), "--calibrate", str(SHAPES / "calibration"), "-o", str(out)]
    assert main([*command, "--limit", "8"]) == 0
    assert main(["evaluate", str(out), "--images", str(SHAPES / "validation"), "--limit", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    fp32, int8 = found["rows"]
    assert found["task"] == "segmentation" and found["inputs"] == 16
    assert fp32["score"]["mIoU"] > 0.5 and abs(fp32["score"]["mIoU"] - int8["score"]["mIoU"]) < 0.05
    assert int8["agreement"]["mask_iou"][0] > 0.9 and int8["outputs"]["scores"]["sqnr_db"] > 20
