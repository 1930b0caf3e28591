"""What the workbench writes says what it showed."""

import json

import numpy as np
import pytest
from conftest import needs_htp

from helpers import qdq, session, targets, vision
from helpers.workbench import experiment, export

CHANGED = "/model.1/act/Mul_output_0"


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_session_comes_back_and_a_foreign_one_is_refused(here, tmp_path):
    here.set(CHANGED, -0.1, 0.9)
    here.keep("A")
    here.set("images", *here.patched.ranges["images"], "uint16")
    here.metrics()
    path, boxes, settings = export.save_session(here, tmp_path / "s.json"), here.results(0), here.settings
    other = experiment.Experiment(here.model, here.inputs, here.calibration[:1])
    export.load_session(other, path)
    assert other.settings == settings and other.kept == here.kept and same(other.results(0), boxes)
    assert [e["what"] for e in other.history[:-1]] == [e["what"] for e in here.history]
    record = json.loads(path.read_text())
    for key, value, words in (("sha256", "0" * 64, "a session of scenes.onnx"), ("pictures", ["a.jpg"], "other pict")):
        path.write_text(json.dumps(record | {key: value}))
        with pytest.raises(ValueError, match=words):
            export.load_session(here, path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a session"):
        export.load_session(here, path)
    assert here.settings == settings
    assert not list(tmp_path.glob("*.part"))


def test_the_exported_model_detects_as_the_bench(here, tmp_path):
    here.set(CHANGED, -0.1, 0.9)
    path = export.model(here, tmp_path / "m.onnx")
    for k in range(3):
        assert same(vision.Detector(path).detect(here.inputs[k], conf=0.001), here.results(k))
    record = json.loads(export.ranges(here, tmp_path / "ranges.json").read_text())
    again = qdq.quantize_model(here.patched.fp32, tmp_path / "again.onnx", record["ranges"])
    assert same(vision.Detector(again).detect(here.inputs[0], conf=0.001), here.results(0))


def test_onnx_runtimes_own_quantizer_takes_the_overrides(here, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    class Reader(CalibrationDataReader):
        feeds = iter(vision.Feeds(here.calibration[:1], here.patched.fp32))

        def get_next(self):
            return next(self.feeds, None)

    here.set(CHANGED, -0.123, 0.9)
    path = export.overrides(here, tmp_path / "overrides.json")
    config = get_qnn_qdq_config(str(here.patched.fp32), Reader(), activation_type=QuantType.QUInt8, per_channel=True,
                                weight_type=QuantType.QInt8, init_overrides=export.read_overrides(path))  # fmt: skip
    quantize(str(here.patched.fp32), str(tmp_path / "ort.onnx"), config)
    theirs, ours = qdq.list_qparams(tmp_path / "ort.onnx"), qdq.list_qparams(here.patched.proto)
    activations = [t for group in here.patched.shared_scale.values() for t in group]
    assert all(theirs[t] == ours[t] for t in activations) and theirs[CHANGED].scale == np.float32(1.023 / 255)
    (tmp_path / "x.json").write_text('{"a": 3}')
    with pytest.raises(ValueError, match="no overrides"):
        export.read_overrides(tmp_path / "x.json")


@needs_htp
def test_a_context_is_compiled(here, tmp_path):
    made = export.context(here, tmp_path / "npu.onnx")
    assert session.load(made, "htp").get_outputs()


def test_without_an_htp_nothing_is_written(here, tmp_path, monkeypatch):
    def absent():
        raise RuntimeError("target 'htp' is not here: no NPU.")

    monkeypatch.setattr(targets, "qnn", absent)
    with pytest.raises(RuntimeError, match="not here"):
        export.context(here, tmp_path / "npu.onnx")
    assert not list(tmp_path.iterdir())
