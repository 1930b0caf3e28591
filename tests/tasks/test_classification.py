"""A class for each input: top-1 and top-5 by hand, labels from folders and from a list."""

import json

import numpy as np
import pytest
from PIL import Image
from small_models import classifier, written

from helpers import assets, qdq, tasks
from helpers.__main__ import main
from helpers.tasks.classification import labels, probabilities

TASK = tasks.named("classification")
SHAPES = assets.DATA / "classification"


def scores(*values):
    return {"y": np.float32([values])}


@pytest.mark.parametrize("shape", ["1,5", "1,5,1,1", "1,1,1,5"])
def test_it_is_recognised_by_its_one_output(shape, tmp_path):
    sizes = f"<int64[{len(shape.split(','))}] s = {{{shape}}}>"
    text = f"g (float[1,3,1,1] x) => (float[{shape}] y) {sizes} {{ c = Conv(x, w) y = Reshape(c, s) }}"
    assert tasks.recognise(written(tmp_path / "net.onnx", text, {"w": (5, 3, 1, 1)})).name == "classification"


def test_other_shapes_are_not(tmp_path):
    for inputs, output in (("1,3,4,4", "1,1,4,4"), ("1,3,4,4", "1,3,4,4"), ("1,16", "1,16")):
        text = f"g (float[{inputs}] x) => (float[{output}] y) {{ y = Relu(x) }}"
        if inputs != output:
            text = f"g (float[{inputs}] x) => (float[{output}] y) {{ y = Conv(x, w) }}"
        model = written(tmp_path / "net.onnx", text, {"w": (1, 3, 1, 1)} if inputs != output else None)
        assert tasks.recognise(model).name == "tensors"


def test_agreement_by_hand():
    """FP32's best is class 2: first in one result, fourth in the next, sixth in the last."""
    reference = [scores(0, 1, 9, 2, 3, 4)] * 3
    test = [scores(0, 1, 8, 2, 3, 4), scores(0, 1, 2, 3, 4, 5), scores(5, 4, 0, 1, 2, 3)]
    found = TASK.agreement(reference, test)
    assert found["top1"].value == pytest.approx(1 / 3) and found["top5"].value == pytest.approx(2 / 3)
    assert set(found) == set(TASK.shown) and found["sqnr_db"].value < 10
    assert set(TASK.history) <= set(found) and TASK.rows(reference[0], test[0], {2: "star"})[1][0] == "star"


def test_scores_are_probabilities_where_they_add_up_to_one():
    np.testing.assert_allclose(probabilities(np.log([1.0, 3.0])), [0.25, 0.75])
    quantized = np.array([0.7, 0.2])  # codes of a softmax need not add up
    assert probabilities(quantized, np.array([0.8, 0.2])) is quantized


def sorted_by_class(folder, names):
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (k, k, k)).save(folder / name / f"{k}.png")
    return TASK.inputs(folder)


def test_labels_are_folders_in_order_of_name_or_their_numbers(tmp_path):
    assert labels(sorted_by_class(tmp_path / "a", ["cat", "dog", "owl"])) == ([0, 1, 2], 3)
    assert labels(sorted_by_class(tmp_path / "b", ["10", "2", "7"])) == ([10, 2, 7], None)
    some = TASK.inputs(tmp_path / "a")[1:]
    assert labels(some) == ([1, 2], 3), "the folders left out count"
    with pytest.raises(FileNotFoundError, match=r"dog: has no labels; sort the inputs into a folder for each class"):
        labels(some[:1])


def test_labels_are_a_list_where_there_is_one(tmp_path):
    inputs = [p.rename(tmp_path / p.name) for p in sorted_by_class(tmp_path / "x", ["a", "b"])]
    (tmp_path / "labels.csv").write_text("file,class\n0.png,4\n1.png, 2\n")
    assert labels(inputs) == ([4, 2], None)
    (tmp_path / "labels.csv").write_text("0.png,4\n")
    with pytest.raises(ValueError, match=r"labels\.csv: has no line for 1\.png"):
        labels(inputs)
    (tmp_path / "labels.csv").write_text("0.png,4\n1.png,owl\n")
    with pytest.raises(ValueError, match=r"labels\.csv: a line is not 'file,class number'"):
        labels(inputs)


def test_a_score_needs_labels_of_as_many_classes(tmp_path):
    results = [scores(0, 2, 1), scores(5, 2, 1), scores(5, 2, 1)]
    inputs = sorted_by_class(tmp_path / "a", ["cat", "dog", "owl"])
    assert TASK.score_results(results, TASK.truths(inputs)) == {"top1": 0.0, "top5": 1.0}
    assert TASK.score_results(results[1:] + results[:1], TASK.truths(inputs))["top1"] == pytest.approx(1 / 3)
    for names in (["cat", "dog"], ["3", "1"]):
        inputs = sorted_by_class(tmp_path / str(names), names)
        with pytest.raises(FileNotFoundError, match=r"the labels know [24] classes and the model 3"):
            TASK.score_results(results[:2], TASK.truths(inputs))


def test_a_trained_classifier_goes_through_both_doors(tmp_path, capsys):
    out, model = tmp_path / "out", assets.DATA / "shapes_classifier.onnx"
    command = ["quantize", str(model), "--calibrate", str(SHAPES / "calibration"), "-o", str(out)]
    assert main([*command, "--limit", "16"]) == 0
    assert "task classification, pictures by crop to 64×64, RGB, nchw, 0..1" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--images", str(SHAPES / "validation"), "--limit", "48", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    fp32, int8 = found["rows"]
    assert fp32["score"]["top1"] > 0.85 and abs(fp32["score"]["top1"] - int8["score"]["top1"]) < 0.1
    assert found["labels"] is None and int8["agreement"]["top1"][0] > 0.9 and found["preprocessing"]["resize"] == "crop"
    record = json.loads((out / "ranges.json").read_text())
    assert record["task"] == "classification" and record["shapes"] == {"image": [1, 3, 64, 64]}
    assert record["preprocessing"] == found["preprocessing"]


def test_its_picture_names_what_changed(tmp_path):
    path = SHAPES / "validation" / "star"
    path = sorted(path.iterdir())[0]
    names = {0: "ball", 1: "star"}
    kept = TASK.picture(path, scores(0, 3), scores(0, 2), names)
    assert kept.axes[-1].get_title() == "INT8 keeps star, 0.95 → 0.88" and len(kept.axes) == 2
    turned = TASK.picture(path.with_suffix(".npz"), scores(0, 3), scores(4, 2), names)
    assert turned.axes[-1].get_title() == "INT8 turns star into ball" and len(turned.axes) == 1


def test_a_model_without_classes_is_refused_by_its_name(tmp_path):
    path = written(tmp_path / "net.onnx", "g (float[2,4] x) => (float[2,4] y) { y = Relu(x) }")
    with pytest.raises(ValueError, match=r"net\.onnx: is no classifier: its first output is not 1×K"):
        TASK.prepare(path, tmp_path / "out.onnx")


def test_the_recipe_works_on_a_classifier_of_pictures(tmp_path, capsys):
    model, _ = classifier(tmp_path)
    command = ["quantize", str(model), "--calibrate", str(SHAPES / "calibration"), "--limit", "9"]
    assert main([*command, "--recipe", "best", "-o", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["paired"]["top1"][0] > 0.5 and tasks.recognise(tmp_path / "out" / "int8.onnx") is TASK
    assert qdq.list_qparams(tmp_path / "out" / "int8.onnx")["x"].dtype == "uint8"
