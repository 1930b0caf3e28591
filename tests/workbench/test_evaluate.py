"""What `evaluate` says: three rows, labels or none, one JSON object, refusals before the work."""

import json
import shutil

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from small_models import classifier, detector, random, segmenter, written

from helpers import assets, targets, tasks
from helpers.__main__ import main
from helpers.workbench.evaluation import Evaluation, OutputError

TWO = """g (int64[1,7] ids, bool[1,7] keep) => (float[1,7,4] y, float[1,7,1] fixed) <float[1] zero = {0}> {
    e = Gather(table, ids) k = Cast<to=1>(keep) axes = Constant<value_ints=[2]>() m = Unsqueeze(k, axes)
    p = Mul(e, m) y = MatMul(p, w) fixed = Mul(m, zero) }"""


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def evaluated(capsys, *argv) -> dict:
    """The one object that `--json` prints."""
    capsys.readouterr()
    assert main(["evaluate", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=refuse)


@pytest.fixture
def two(tmp_path):
    """A model of two inputs, int64 and bool, one of whose outputs is always zero, quantized; and its inputs."""
    model = written(tmp_path / "two.onnx", TWO, {"table": (20, 8), "w": (8, 4)})
    (tmp_path / "inputs").mkdir()
    rng = random(5)
    for k in range(4):
        ids, keep = rng.integers(0, 20, (1, 7)), rng.integers(0, 2, (1, 7)).astype(bool)
        np.savez(tmp_path / "inputs" / f"{k}.npz", ids=ids, keep=keep)
    command = ["quantize", str(model), "--calibrate", str(tmp_path / "inputs"), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    return tmp_path / "out", tmp_path / "inputs"


def test_several_inputs_and_an_output_that_is_constant(two, capsys):
    found = evaluated(capsys, two[0], "--images", two[1])
    assert found["task"] == "tensors" and found["preprocessing"] is None and "nothing scores" in found["labels"]
    fp32, int8 = found["rows"]
    assert fp32["outputs"] is None and int8["outputs"]["fixed"]["note"] == "constant"
    assert int8["outputs"]["fixed"]["sqnr_db"] is None and int8["outputs"]["y"]["sqnr_db"] > 20
    assert int8["agreement"]["sqnr_db"][0] == pytest.approx(int8["outputs"]["y"]["sqnr_db"], abs=0.01)
    assert main(["evaluate", str(two[0]), "--images", str(two[1])]) == 0
    text = capsys.readouterr().out
    assert "constant" in text and "inf" not in text and "nan" not in text
    assert json.loads((two[0] / "ranges.json").read_text())["shapes"] == {"ids": [1, 7], "keep": [1, 7]}


def test_a_model_whose_every_output_is_constant_is_evaluated_too(tmp_path, capsys):
    text = "g (float[1,8] x) => (float[1,8] y) <float[1] zero = {0}> { r = Relu(x) y = Mul(r, zero) }"
    model = written(tmp_path / "zero.onnx", text)
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "a.npy", random().normal(size=(1, 8)))
    assert main(["quantize", str(model), "--calibrate", str(tmp_path / "inputs"), "-o", str(tmp_path / "out")]) == 0
    int8 = evaluated(capsys, tmp_path / "out", "--images", tmp_path / "inputs")["rows"][1]
    assert int8["outputs"]["y"]["note"] == "constant" and int8["agreement"]["sqnr_db"] == [None, None, None]
    assert main(["evaluate", str(tmp_path / "out"), "--images", str(tmp_path / "inputs")]) == 0
    assert "nan" not in capsys.readouterr().out


def test_output_errors_by_hand():
    error = OutputError()
    error.add(np.float32([1, 2]), np.float32([1, 2]))
    assert error.record() == {"sqnr_db": None, "cosine": 1.0, "largest_error": 0.0, "note": "equal"}
    error.add(np.float32([0, 5]), np.float32([0, 4]))
    assert error.record()["sqnr_db"] == pytest.approx(10 * np.log10(30 / 1), abs=0.01)
    assert error.record()["cosine"] == pytest.approx(25 / np.sqrt(30 * 21), abs=1e-6)
    lost = OutputError()
    lost.add(np.float32([1, 2]), np.zeros(2))
    assert lost.record() == {"sqnr_db": 0.0, "cosine": 0.0, "largest_error": 2.0, "note": None}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small detector, quantized on four pictures."""
    folder = tmp_path_factory.mktemp("small")
    model = detector(folder / "small.onnx")
    assert main(["quantize", str(model), "--limit", "4", "-o", str(folder / "out")]) == 0
    return folder / "out"


def test_missing_labels_do_not_fail_it(small, tmp_path, capsys):
    pictures = tmp_path / "plain"
    pictures.mkdir()
    for path in assets.images("validation")[:2]:
        shutil.copy(path, pictures)
    found = evaluated(capsys, small, "--images", pictures)
    assert "has no labels" in found["labels"] and {row["score"] for row in found["rows"]} == {None}
    assert len(found["rows"][1]["outputs"]) == 6
    assert main(["evaluate", str(small), "--images", str(pictures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("no score: ") and "agreement with FP32, without labels" in lines


def test_results_and_outputs_come_from_one_run(small):
    """What an evaluation holds is what the runners give by themselves."""
    fp32, int8, task = small / "fp32.onnx", small / "int8.onnx", tasks.named("detection")
    pictures = assets.images("validation")[:2]
    evaluation = Evaluation(task, fp32, int8, targets.get("cpu"))
    evaluation.run(pictures)
    for row, path in zip(evaluation.rows, (fp32, int8), strict=True):
        for result, picture in zip(row.results, pictures, strict=True):
            for a, b in zip(result, task.runner(path).results(picture), strict=True):
                np.testing.assert_array_equal(a, b)
    feeds = task.feeds(pictures, fp32)
    a, b = (np.stack([targets.load(path).run(None, feed)[0] for feed in feeds]) for path in (fp32, int8))
    db = 10 * np.log10((a.astype(float) ** 2).sum() / ((a - b).astype(float) ** 2).sum())
    assert next(iter(evaluation.rows[1].errors.values())).record()["sqnr_db"] == pytest.approx(db, abs=0.01)


@needs_htp
def test_three_rows_and_nothing_but_json_on_stdout(small, capfd):
    capfd.readouterr()
    assert main(["evaluate", str(small), "--target", "htp", "--limit", "2", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [row["row"] for row in found["rows"]] == ["FP32 CPU", "INT8 CPU", "INT8 HTP"]
    assert found["placed"][0] == found["placed"][1] > 10 and found["limit"] == 2 and found["model"] == "small.onnx"


def test_what_a_target_refuses_it_refuses_first(tmp_path, capsys, monkeypatch):
    text = "g (float[1,3,8,8] x) => (float[1,3] y) { p = GridSample(x, g) r = Flatten(p) y = MatMul(r, w) }"
    model = written(tmp_path / "net.onnx", text, {"g": (1, 2, 2, 2), "w": (12, 3)})
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "a.npy", random().normal(size=(1, 3, 8, 8)))
    assert main(["quantize", str(model), "--calibrate", str(tmp_path / "inputs"), "-o", str(tmp_path / "out")]) == 0
    monkeypatch.setattr(Evaluation, "run", lambda self, inputs: pytest.fail("a row was computed"))
    command = ["evaluate", str(tmp_path / "out"), "--images", str(tmp_path / "inputs"), "--target", "integer"]
    assert main(command) == 2
    assert "GridSample" in capsys.readouterr().err


def test_inputs_are_to_be_named_where_nothing_lies_ready(tmp_path, capsys):
    model, inputs = classifier(tmp_path)
    assert main(["quantize", str(model), "-o", str(tmp_path / "out")]) == 2
    assert "classifier.onnx: say what to calibrate on with `--calibrate FOLDER`" in capsys.readouterr().err
    assert main(["quantize", str(model), "--calibrate", str(inputs), "-o", str(tmp_path / "out")]) == 0
    assert main(["evaluate", str(tmp_path / "out")]) == 2
    assert "say what to judge it on with `--images FOLDER`" in capsys.readouterr().err


def test_a_float_model_that_gives_nan_names_the_file(small, tmp_path, capsys):
    model = onnx.load(small / "fp32.onnx")
    broken = next(t for t in model.graph.initializer if t.name == "score0_b")
    broken.raw_data = np.full(3, np.nan, np.float32).tobytes()
    shutil.copytree(small, tmp_path / "out")
    onnx.save(model, tmp_path / "out" / "fp32.onnx")
    assert main(["evaluate", str(tmp_path / "out"), "--limit", "1"]) == 2
    assert ".jpg: the float model gives NaN or infinity for it" in capsys.readouterr().err


BAD = {
    "mixed": (["--calibrate", "mixed"], "mixed: holds 1 pictures and 1 .npz or .npy files"),
    "arrays with a mean": (["--calibrate", "arrays", "--mean", "0.5"], "--mean: only for pictures, and"),
    "another name": (["--calibrate", "names"], "a.npz: holds other; the model's inputs are x"),
    "another shape": (["--calibrate", "shapes"], "a.npy: 'x' is 1×3×4×4, and the model takes 1×3×16×24"),
    "another task": (["--calibrate", "pictures", "--task", "detection"], "net.onnx: no YOLOv8 detection head"),
    "no classes": (["--calibrate", "pictures", "--task", "classification"], "net.onnx: is no classifier"),
    "too many means": (["--calibrate", "pictures", "--mean", "1,2"], "mean 1, 2: input 'x' has 3 channels"),
    "another layout": (["--calibrate", "pictures", "--layout", "nhwc"], "whose layout is not nhwc"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_nothing_written(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segmenter("net.onnx")
    for name in ("mixed", "arrays", "names", "shapes", "pictures"):
        (tmp_path / name).mkdir()
    for name in ("mixed", "pictures"):
        shutil.copy(assets.images()[0], name)
    for name in ("mixed", "arrays"):
        np.savez(f"{name}/a.npz", x=np.zeros((1, 3, 16, 24)))
    np.savez("names/a.npz", other=np.zeros((1, 3, 16, 24)))
    np.save("shapes/a.npy", np.zeros((1, 3, 4, 4)))
    argv, message = BAD[case]
    assert main(["quantize", "net.onnx", *argv, "-o", "made/out"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error and not list(tmp_path.glob("made/**/*"))
