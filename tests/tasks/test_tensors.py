"""The task of last resort: stored arrays in, outputs compared as they are."""

import json

import numpy as np
import onnx.parser
import pytest
from small_models import classifier

from helpers import qdq, targets, tasks
from helpers.__main__ import main
from helpers.tasks.tensors import ArrayFeeds, Noise

TASK = tasks.named("tensors")
TWO = """<ir_version: 8, opset_import: ["": 17]> g (float[2] a, float[2] b) => (float[2] y, float[2] z)
    { y = Add(a, b) z = Sub(a, b) }"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The classifier, its inputs, and both graphs that come of it."""
    folder = tmp_path_factory.mktemp("tensors")
    model, inputs = classifier(folder)
    return qdq.calibrate_and_quantize(model, TASK.inputs(inputs), folder / "out", "minmax"), TASK.inputs(inputs)


def test_inputs_are_the_arrays_of_a_folder_or_one_file(tmp_path):
    _, folder = classifier(tmp_path, 3)
    (folder / "note.txt").touch()
    assert [p.name for p in TASK.inputs(folder)] == ["0.npy", "1.npz", "2.npz"]
    assert TASK.inputs(folder / "0.npy") == [folder / "0.npy"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: holds no \.npz or \.npy files.*numpy\.savez"):
        TASK.inputs(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        TASK.inputs(tmp_path / "nowhere")


def test_feeds_read_both_kinds_again_and_again(made):
    quantized, paths = made
    feeds = TASK.feeds(paths, quantized.fp32)
    assert len(feeds) == 6 and feeds.paths == paths and [list(f) for f in feeds] == [["x"]] * 6
    np.testing.assert_array_equal(feeds[0]["x"], np.load(paths[0]))
    np.testing.assert_array_equal([f["x"] for f in feeds][5], np.load(paths[5])["x"])


def test_bad_inputs_are_one_sentence_that_names_the_file(tmp_path):
    two = onnx.parser.parse_model(TWO)
    np.save(tmp_path / "one.npy", np.zeros(2))
    np.savez(tmp_path / "half.npz", a=np.zeros(2))
    np.savez(tmp_path / "more.npz", a=np.zeros(2), b=np.zeros(2), c=np.zeros(2))
    np.savez(tmp_path / "both.npz", a=np.zeros(2), b=np.zeros(2))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no arrays")
    cases = {
        "one.npy": r"holds one array, and the model has 2 inputs: give an \.npz with a, b",
        "half.npz": "holds a; the model's inputs are a, b",
        "more.npz": "holds a, b, c; the model's inputs are a, b",
        "text.npz": "not an array file; give what",
        "objects.npy": "not an array file; give what",
        "gone.npz": "not an array file; give what",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=f"{name}: {message}") as caught:
            ArrayFeeds([tmp_path / name], two)[0]
        assert "\n" not in str(caught.value)
    assert set(ArrayFeeds([tmp_path / "both.npz"], two)[0]) == {"a", "b"}
    with pytest.raises(ValueError, match="no inputs were given"):
        ArrayFeeds([], two)


def test_agreement_by_hand():
    """Over both inputs Σa² = 50 + 50, Σ(a−b)² = 1; the worst of the outputs counts."""
    a = [{"y": np.float32([3, 4, 5]), "z": np.ones(2)}, {"y": np.float32([5, 5]), "z": np.ones(2)}]
    b = [{"y": np.float32([3, 4, 6]), "z": np.ones(2)}, {"y": np.float32([5, 5]), "z": np.ones(2)}]
    found = TASK.agreement(a, b)
    assert set(found) == set(TASK.shown) == {"sqnr_db", "cosine"}
    assert found["sqnr_db"].value == pytest.approx(10 * np.log10(100))
    assert found["cosine"].value == pytest.approx(105 / np.sqrt(100 * 111))
    assert found["sqnr_db"].low <= found["sqnr_db"].value
    assert TASK.change(a[0], b[0]) == pytest.approx(1 / 52) and TASK.change(a[1], b[1]) == 0
    assert TASK.rows(a[0], b[0], {}) == [("output", "shape", "SQNR, dB"), ("y", "3", "17.0"), ("z", "2", "inf")]
    np.testing.assert_allclose(TASK.picture(None, a[0], b[0], {}).axes[0].lines[0].get_ydata(), [3 / 5, 4 / 5, 6 / 5])


def test_what_equals_differs_in_nothing(made):
    quantized, paths = made
    results = [TASK.runner(quantized.fp32).results(p) for p in paths[:3]]
    found = TASK.agreement(results, results)
    assert found["sqnr_db"].value == np.inf and found["cosine"].value == pytest.approx(1)
    assert TASK.change(results[0], results[0]) == 0 and TASK.count(results[0]) == 1


def test_a_constant_output_speaks_for_nothing():
    """Zeros that came out as 1 would be an SQNR of minus infinity; where nothing else is left, nothing is said."""
    a = [{"y": np.float32([k, 2]), "z": np.zeros(2)} for k in range(2)]
    b = [{"y": np.float32([k, 2]), "z": np.ones(2)} for k in range(2)]
    assert TASK.agreement(a, b)["sqnr_db"].value == np.inf
    only = TASK.agreement([{"z": r["z"]} for r in a], [{"z": r["z"]} for r in b])
    assert set(only) == set(TASK.shown) and all(np.isnan(value).all() for value in only.values())


def test_integers_that_fit_become_the_models(tmp_path):
    model = onnx.parser.parse_model(
        TWO.replace("float[2] a, float[2] b", "int64[2] a, int64[2] b").replace("float", "int64")
    )
    np.savez(tmp_path / "fits.npz", a=np.int32([1, -2]), b=np.uint8([3, 4]))
    assert {v.dtype.name for v in ArrayFeeds([tmp_path / "fits.npz"], model)[0].values()} == {"int64"}
    np.savez(tmp_path / "not.npz", a=np.float32([1, 2]), b=np.uint8([3, 4]))
    with pytest.raises(ValueError, match=r"not\.npz: 'a' is float32, and the model takes int64"):
        ArrayFeeds([tmp_path / "not.npz"], model)[0]


def test_drift_is_the_mean_share_of_noise_over_the_outputs(made, monkeypatch):
    monkeypatch.setattr(type(targets.get("cpu")), "quickly", {})  # or a CPU without VNNI saturates sums of two
    quantized, paths = made
    feeds = TASK.feeds(paths[:3], quantized.fp32)
    seen = TASK.reference_outputs(quantized.fp32, feeds)
    assert TASK.drift_against(seen, quantized.fp32, feeds).total < 1e-10
    drift = TASK.drift_against(seen, quantized.int8, feeds)
    runner = TASK.runner(quantized.int8)
    a, b = (np.array([f[0] for f in v]) for v in (seen, [[runner.results(p)["y"]] for p in paths[:3]]))
    assert isinstance(drift, Noise) and set(drift._fields) == set(TASK.drifts)
    assert drift.noise == drift.total == pytest.approx(np.sum((a - b) ** 2) / np.sum(a**2), rel=1e-6)


def test_labels_cannot_score_it(made):
    with pytest.raises(ValueError, match="nothing says what its outputs mean"):
        TASK.score(made[0].int8, made[1])


@pytest.mark.parametrize("more", [[], ["--recipe", "best"]])
def test_the_command_line_takes_a_classifier_from_stored_arrays(more, tmp_path, capsys):
    model, inputs = classifier(tmp_path, 9)
    out = tmp_path / "out"
    assert main(["quantize", str(model), "--calibrate", str(inputs), "-o", str(out), *more]) == 0
    record = json.loads((out / "ranges.json").read_text())
    assert record["task"] == "classification" and record["model"] == "classifier.onnx"
    assert {"x", "r", "y"} <= set(record["ranges"]) and record["preprocessing"] is None
    said = capsys.readouterr().out
    if more:
        report = json.loads((out / "report.json").read_text())
        assert "noise drift" in said and {"step", "noise", "seconds"} == set(report["steps"][0])
        assert (
            report["kept"] == min(report["steps"], key=lambda s: s["noise"])["step"] and (out / "report.png").is_file()
        )
        assert set(report["paired"]) <= {"top1", "top5", "sqnr_db", "cosine"} and report["judged_on"]
    else:
        assert record["calibrated_on"] == [p.name for p in TASK.inputs(inputs)]
    assert main(["evaluate", str(out), "--images", str(inputs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(k for k, line in enumerate(lines) if line.startswith("  INT8 CPU"))
    assert lines[row - 2].split()[:2] == ["top-1", "agreement"] and lines[row - 1].split()[2:] == ["–", "–"]
    assert float(lines[row].split()[2]) > 0.9 and float(lines[row].split()[3]) > 20
