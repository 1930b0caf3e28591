"""The steps in one call are the steps one by one."""

import onnx
import pytest
from small_models import classifier

from helpers import assets, calibrate, qdq, vision


def test_one_call_is_every_step(tmp_path):
    made = qdq.calibrate_and_quantize(assets.model(), assets.images()[:2], tmp_path / "a", "percentile")
    fp32 = qdq.split_head(assets.model(), tmp_path / "fp32.onnx")
    histograms = calibrate.observe(fp32, vision.Feeds(assets.images()[:2], fp32))
    ranges = calibrate.ranges(histograms, "percentile")
    int8 = qdq.quantize_model(fp32, tmp_path / "int8.onnx", ranges)
    assert [p.name for p in (made.fp32, made.int8)] == ["fp32.onnx", "int8.onnx"]
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"fp32.onnx", "int8.onnx"}
    assert made.ranges == ranges and made.histograms == histograms and len(made.feeds) == 2
    assert made.int8.read_bytes() == int8.read_bytes() and made.fp32.read_bytes() == fp32.read_bytes()


def test_method_and_dtype_are_passed_on(tmp_path):
    model, folder = classifier(tmp_path)
    inputs = sorted(folder.iterdir())
    wide = qdq.calibrate_and_quantize(model, inputs, tmp_path / "a", lambda h, dtype: (h.min, 2 * h.max), "uint16")
    assert wide.ranges == {t: (h.min, 2 * h.max) for t, h in wide.histograms.items()}
    params = qdq.list_qparams(wide.int8)
    # a Conv's output under its Relu has a range and no codes of its own
    assert {params[t].dtype for t in wide.ranges if t in params} == {"uint16"}


def test_bad_input_leaves_no_quantized_model(tmp_path):
    model, folder = classifier(tmp_path)
    inputs = sorted(folder.iterdir())
    with pytest.raises(ValueError, match="method 'best' is unknown; choose one of minmax"):
        qdq.calibrate_and_quantize(model, inputs, tmp_path / "a", "best")
    assert not (tmp_path / "a").exists()
    made = qdq.calibrate_and_quantize(model, inputs, tmp_path / "a")
    with pytest.raises(ValueError, match="already quantized"):
        qdq.calibrate_and_quantize(made.int8, inputs, tmp_path / "b")


def test_ctrl_c_leaves_fp32_alone(tmp_path, monkeypatch):
    def stop(self, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(vision.Feeds, "__getitem__", stop)
    with pytest.raises(KeyboardInterrupt):
        qdq.calibrate_and_quantize(assets.model(), assets.images()[:2], tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["fp32.onnx"] and onnx.load(tmp_path / "a" / "fp32.onnx")
