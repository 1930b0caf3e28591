"""A proof: the same inputs on every target, codes compared, nothing that pretends to be a time."""

import json

import numpy as np
import onnx.parser
import pytest
from conftest import needs_htp
from small_models import classifier, detector

from helpers import plot, targets
from helpers.__main__ import main
from helpers.workbench import proof

TWO = """<ir_version: 8, opset_import: ["": 17]> g (float[1,8] a, float[1,8] b) => (float[1,8] y, float[1,8] z)
    { y = Add(a, b)  z = Mul(a, b) }"""


def made(model, inputs, folder, more=()):
    """What quantize and prove wrote."""
    out, proved = str(folder / "out"), str(folder / "proof")
    assert main(["quantize", str(model), "--calibrate", str(inputs), "--method", "minmax", "-o", out]) == 0
    assert main(["prove", out, "--images", str(inputs), "-o", proved, *more]) == 0
    return json.loads((folder / "proof" / "proof.json").read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The proof of a small detector."""
    folder = tmp_path_factory.mktemp("proof")
    return made(detector(folder / "small.onnx"), "validation", folder, ["--limit", "2"]), folder / "proof"


@needs_htp
def test_integers_are_the_codes_of_the_htp_tensor_by_tensor(found):
    codes = found[0]["codes"]["integer = htp"]
    assert codes["equal"] == codes["of"] > 10_000 and codes["first_difference"] is None
    integer, htp = (found[0]["targets"][name]["codes_sha256"] for name in ("integer", "htp"))
    assert {t: htp[t] for t in integer} == integer and len(integer) > 8
    differs = found[0]["codes"]["cpu = htp"]
    assert differs["equal"] < differs["of"] and differs["first_difference"] in differs["tensors"]
    placed, nodes = found[0]["targets"]["htp"]["placed"]
    assert placed == nodes > 20


def test_the_page_and_the_record_say_what_was_compared_and_no_time(found):
    record, folder = found
    assert sorted(p.name for p in folder.iterdir()) == ["proof.json", "proof.png"]
    assert record["model"]["name"] == "small.onnx" and record["model"]["task"] == "detection"
    assert len(record["inputs"]) == 2 and all(len(i["sha256"]) == 64 for i in record["inputs"])
    for target in record["targets"].values():
        assert target["latency_ms"] is None and target["latency_note"].startswith("not measured")
    text = (folder / "proof.json").read_text()
    assert str(folder.parent) not in text and "/work" not in text
    figure = plot.proof(record)
    said = " ".join(t.get_text() for ax in figure.axes for t in ax.texts)
    assert "not measured" in said and "small.onnx" in figure.get_suptitle()


def test_a_difference_is_found_and_named():
    one = [{"a": np.uint8([1, 2, 3]), "b": np.uint8([4, 5])}]
    other = [{"a": np.uint8([1, 2, 3]), "b": np.uint8([4, 8]), "c": np.uint8([0])}]
    compared = proof._compare(one, other)
    assert compared["equal"] == 4 and compared["of"] == 5 and compared["largest_step"] == 3
    assert compared["first_difference"] == "b" and list(compared["tensors"]) == ["a", "b"]


def test_two_inputs_and_a_classifier_are_proved_from_arrays(tmp_path):
    onnx.save(onnx.parser.parse_model(TWO), tmp_path / "two.onnx")
    (tmp_path / "arrays").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        arrays = {name: rng.normal(size=(1, 8)).astype(np.float32) for name in "ab"}
        np.savez(tmp_path / "arrays" / f"{k}.npz", **arrays)
    two = made(tmp_path / "two.onnx", tmp_path / "arrays", tmp_path)
    assert set(two["targets"]["cpu"]["outputs"]) == {"y", "z"} and two["targets"]["cpu"]["agreement"]["cosine"] > 0.99
    model, inputs = classifier(tmp_path)
    record = made(model, inputs, tmp_path)
    assert record["targets"]["cpu"]["outputs"]["y"]["sqnr_db"] > 10
    assert main(["prove", str(tmp_path / "out"), "-o", str(tmp_path / "other")]) == 2, "its inputs must be named"


def test_a_constant_output_is_said_and_a_refusal_stands_in_its_column(tmp_path, monkeypatch):
    assert proof._against(np.zeros(4), np.ones(4))["note"] == "FP32 gives one constant value here"
    assert proof._against(np.arange(4), np.arange(4))["sqnr_db"] is None

    def refuse(self, model, **options):
        raise ValueError(f"{model}: no such operator here.")

    monkeypatch.setattr(type(targets.get("integer")), "open", refuse)
    model, inputs = classifier(tmp_path)
    record = made(model, inputs, tmp_path)
    assert record["targets"]["integer"]["refused"] == "int8.onnx: no such operator here."
    assert not any("integer" in pair for pair in record["codes"])
    assert any("refused" in t.get_text() for ax in plot.proof(record).axes for t in ax.texts)


def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, capsys):
    assert main(["prove", str(tmp_path), "-o", str(tmp_path / "proof")]) == 2
    assert "fp32.onnx: no such file; make it with" in capsys.readouterr().err
    assert not (tmp_path / "proof").exists()


def test_an_emulated_target_gives_no_latency(found):
    assert targets.get("integer").emulated()
    with pytest.raises(RuntimeError, match="emulated here, so its time says nothing"):
        targets.latency("unused.onnx", {}, "integer")


@needs_htp
def test_where_the_npu_is_real_its_time_is_measured_with_the_power_mode_named(tmp_path, monkeypatch):
    monkeypatch.setattr(type(targets.get("htp")), "emulated", lambda self: False)  # only in name
    record = made(*classifier(tmp_path), tmp_path)
    timed = record["targets"]["htp"]["latency_ms"]
    assert timed["options"] == {"htp_performance_mode": "burst"} and timed["runs"] == 50
    assert 0 < timed["low"] <= timed["median"] <= timed["high"]
    assert record["targets"]["cpu"]["latency_note"] == "not measured: not the NPU"
    assert any("burst" in t.get_text() for ax in plot.proof(record).axes for t in ax.texts)
