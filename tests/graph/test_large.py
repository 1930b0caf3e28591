"""A model above what one file holds: its weights go into a file beside it; tried on small ones, with a lower limit."""

import json

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from small_models import classifier, conv_model, segmenter, written

from helpers import graph, targets
from helpers.__main__ import main
from helpers.graph import files
from helpers.graph.model import Model


@pytest.fixture
def low(monkeypatch):
    """Everything is large."""
    monkeypatch.setattr(files, "LARGEST", 16)
    monkeypatch.setattr(files, "BESIDE", 16)


def test_a_large_model_is_written_with_its_weights_beside_it(tmp_path, low):
    model = onnx.load(segmenter(tmp_path / "net.onnx"))
    before = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    (tmp_path / "copy.onnx.data").write_bytes(b"of an earlier one")
    graph.save_model(model, tmp_path / "copy.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.onnx", "copy.onnx.data", "net.onnx"]
    bare = onnx.load(tmp_path / "copy.onnx", load_external_data=False)
    assert {t.external_data[0].value for t in bare.graph.initializer} == {"copy.onnx.data"}
    held = graph.read_model(tmp_path / "copy.onnx")
    for proto in (held, model):  # the one that was saved is as before, too
        assert not any(t.external_data for t in proto.graph.initializer)
        for a, b in zip(proto.graph.initializer, before, strict=True):
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(a), b)


def test_a_large_model_has_the_same_shapes_and_outputs(tmp_path, monkeypatch):
    path, x = segmenter(tmp_path / "net.onnx"), np.ones((1, 3, 16, 24), np.float32)
    shapes, y = Model.of(path).shapes, targets.load(Model.of(path)).run(None, {"x": x})[0]
    monkeypatch.setattr(files, "LARGEST", 16)
    monkeypatch.setattr(files, "BESIDE", 16)
    assert Model.of(path).shapes == shapes
    np.testing.assert_array_equal(targets.load(Model.of(path)).run(None, {"x": x})[0], y)


@pytest.mark.parametrize("target", ["cpu", pytest.param("htp", marks=needs_htp)])
def test_both_doors_take_a_large_model_with_its_data_beside_it(target, tmp_path, low, capsys):
    model, inputs = classifier(tmp_path)
    loaded = onnx.load(model)
    model.unlink()
    graph.save_model(loaded, model)
    assert (tmp_path / "classifier.onnx.data").is_file()
    out = tmp_path / "out"
    assert main(["quantize", str(model), "--calibrate", str(inputs), "-o", str(out)]) == 0
    names = ["fp32.onnx", "fp32.onnx.data", "int8.onnx", "int8.onnx.data", "ranges.json"]
    assert sorted(p.name for p in out.iterdir()) == names
    capsys.readouterr()
    assert main(["evaluate", str(out), "--images", str(inputs), "--target", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][-1]["outputs"]["y"]["sqnr_db"] > 20


def test_weights_of_an_earlier_large_model_do_not_stay(tmp_path, monkeypatch):
    model, inputs = classifier(tmp_path)
    command = ["quantize", str(model), "--calibrate", str(inputs), "-o", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(files, "LARGEST", 16)
        patch.setattr(files, "BESIDE", 16)
        assert main(command) == 0
        assert (tmp_path / "out" / "int8.onnx.data").is_file()
    assert main(command) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["fp32.onnx", "int8.onnx", "ranges.json"]


def test_an_input_without_a_rank_is_no_scalar(tmp_path):
    model = onnx.load(conv_model(tmp_path / "a.onnx"))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"a\.onnx: input 'x' has no shape, not even its number of axes.*--shape x="):
        graph.read_model(tmp_path / "a.onnx")
    text = "g (float[1,4] x) => (float[1,4] y) { h = Unheard(x) y = Relu(h) }"
    unknown = Model.of(written(tmp_path / "b.onnx", text))
    assert "h" not in unknown.shapes and unknown.shapes["y"] == (1, 4)
