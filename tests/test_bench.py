"""The bench: a change in place is a fresh quantization, sessions and exports say what the bench says."""

import json

import numpy as np
import onnx
import pytest
from conftest import needs_htp

from helpers import assets, calibrate, graph, qdq, session, vision
from helpers.workbench import experiment, export

CHANGED = "/model.1/act/Mul_output_0"


@pytest.fixture(scope="module")
def opened():
    return experiment.Experiment(assets.model(), assets.images("validation")[:3], assets.images("calibration")[:4])


@pytest.fixture
def here(opened):
    opened.apply({"ranges": {}, "a16": [], "per_channel": True}, "start")
    opened.kept = {}
    return opened


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def fresh(here, tmp_path, name="fresh.onnx"):
    ranges = {t: here.live.ranges[leader] for leader, group in here.graph.shared_scale.items() for t in group}
    a16 = [t for leader in here.live.a16 for t in here.graph.shared_scale[leader]]
    return qdq.quantize_model(here.live.fp32, tmp_path / name, ranges, per_channel=here.live.per_channel, a16=a16)


def test_undo_restores_every_byte(here):
    before, boxes = here.live.proto.SerializeToString(deterministic=True), here.detect(0)
    here.set(CHANGED, -5, 300)  # so coarse that the biases' codes lose what they knew
    here.set("/model.9/m/MaxPool_output_0", -0.1, 2)
    assert here.live.proto.SerializeToString(deterministic=True) != before and not same(here.detect(0), boxes)
    here.undo()
    assert list(here.settings["ranges"]) == [CHANGED]
    here.undo()
    here._found.clear()
    assert here.live.proto.SerializeToString(deterministic=True) == before and same(here.detect(0), boxes)


@pytest.mark.parametrize("tensor", [CHANGED, "images", "/model.9/m/MaxPool_output_0", "/model.2/Split_output_1"])
def test_a_change_in_place_is_a_fresh_quantization(here, tmp_path, tensor):
    here.detect(0)  # the session that has to outlive the change
    low, high = here.live.ranges[here.representative(tensor)]
    here.set(tensor, low * 0.7, high * 0.37)
    made = fresh(here, tmp_path)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(made).graph.initializer}
    assert all(np.array_equal(stored[t.name], onnx.numpy_helper.to_array(t)) for t in here.live.proto.graph.initializer)
    for target in ("cpu", "integer"):
        assert same(here.detect(0, target), vision.Detector(made, target).detect(here.pictures[0], conf=0.001))


def test_bits_and_weights_quantize_anew(here, tmp_path):
    here.set_dtype(CHANGED, "uint16")
    here.set(CHANGED, -0.2, 1.5)
    assert qdq.list_qparams(here.live.proto)[CHANGED].dtype == "uint16" == here.dtype(CHANGED)
    assert same(here.detect(1), vision.Detector(fresh(here, tmp_path)).detect(here.pictures[1], conf=0.001))
    with pytest.raises(ValueError, match=r"quantize every activation to uint8"):
        here.detect(1, "integer")
    here.set_method(CHANGED, "minmax")
    sqnr = here.sqnr(CHANGED)
    here.set_dtype(CHANGED, "uint8")
    assert sqnr > here.sqnr(CHANGED) + 20
    here.set("/model.0/act/Sigmoid_output_0", 0, 0.7, "uint16")  # whose range QNN's configuration would overrule
    assert qdq.list_qparams(here.live.proto)["/model.0/act/Sigmoid_output_0"].scale == np.float32(0.7) / 65535
    here.undo()
    here.set_per_channel(False)
    assert same(here.detect(1), vision.Detector(fresh(here, tmp_path)).detect(here.pictures[1], conf=0.001))


def test_guilt_is_the_isolated_sqnr(here):
    feeds = vision.Feeds(here.calibration, here.live.fp32)
    measured = qdq.layer_sqnr(here.live.fp32, export.model(here, here.live.folder / "m.onnx"), feeds, isolated=True,
                              only="activations")  # fmt: skip
    both = np.array(
        [(db, here.sqnr(t)) for t, db in measured.items() if t in here.graph.shared_scale and np.isfinite(db)]
    )
    assert len(both) > 150 and np.median(np.abs(both[:, 0] - both[:, 1])) < 0.3
    assert here.tensors == sorted(here.tensors, key=here.sqnr) and set(here.tensors) == set(here.graph.shared_scale)
    here.set(CHANGED, -0.01, 0.02)
    assert here.tensors[0] == CHANGED


def test_a_sample_is_what_the_histogram_counted(here):
    own = experiment.Experiment(here.model, here.pictures[:1])
    for tensor in (CHANGED, "images", "/model.20/Concat_output_0"):
        x = own.sample(tensor, 0)
        counted = own.histograms[tensor]
        assert (x.min(), x.max()) == pytest.approx((counted.min, counted.max), rel=1e-4)


def test_methods_give_their_ranges(here):
    for name, method in calibrate.METHODS.items():
        here.set_method(CHANGED, name)
        assert here.live.ranges[CHANGED] == pytest.approx(method(here.histograms[CHANGED], "uint8"), rel=1e-6)


def test_metrics_are_those_of_vision_and_history_goes_forward(here):
    here.set_method(CHANGED, "minmax")
    seen = []
    metrics = here.metrics(each=lambda done, total: seen.append((done, total)))
    direct = vision.paired_metrics(here.reference, [here.detect(k) for k in range(3)])
    assert metrics == {k: tuple(direct[k]) for k in experiment.KEYS} and seen == [(k, 3) for k in range(4)]
    count = len(here.history)
    here.metrics("integer")
    assert len(here.history) == count + 1 and here.history[-1]["target"] == "integer"
    times = [e["time"] for e in here.history]
    assert times == sorted(times)

    def stop(done, total):
        raise InterruptedError

    here.set_method(CHANGED, "entropy")
    with pytest.raises(InterruptedError):
        here.metrics(each=stop)
    assert here.history[-1]["metrics"] is None


def test_kept_settings_can_be_visited(here):
    before, count = here.detect(0), len(here.history)
    here.keep("A")
    here.set(CHANGED, -0.05, 0.3)
    changed = here.detect(0)
    with here.at("A"):
        assert same(here.detect(0), before) and here.judge() == here.judge()
    assert same(here.detect(0), changed) and len(here.history) == count + 1 and not same(before, changed)


def test_what_cannot_be_set_changes_nothing(here):
    before, count = here.live.proto.SerializeToString(deterministic=True), len(here.history)
    for call, words in (
        (lambda: here.set(CHANGED, 1e-30, 1e-30), "more than 32 bits"),
        (lambda: here.set(CHANGED, 2, 1), "rmin ≤ rmax"),
        (lambda: here.set("/model.1/act/Mul_output", 0, 1), "nearest names are .*Mul_output_0"),
        (lambda: here.set_dtype(CHANGED, "int4"), "uint8 or uint16"),
        (lambda: here.set_method(CHANGED, "best"), "unknown"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert here.live.proto.SerializeToString(deterministic=True) == before and len(here.history) == count


def test_a_session_comes_back_and_a_foreign_one_is_refused(here, tmp_path):
    here.set(CHANGED, -0.1, 0.9)
    here.keep("A")
    here.set_dtype("images", "uint16")
    here.metrics()
    path, boxes, settings = export.save_session(here, tmp_path / "s.json"), here.detect(0), here.settings
    other = experiment.Experiment(here.model, here.pictures, here.calibration[:1])
    export.load_session(other, path)
    assert other.settings == settings and other.kept == here.kept and same(other.detect(0), boxes)
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
        assert same(vision.Detector(path).detect(here.pictures[k], conf=0.001), here.detect(k))
    record = json.loads(export.ranges(here, tmp_path / "ranges.json").read_text())
    again = qdq.quantize_model(here.live.fp32, tmp_path / "again.onnx", record["ranges"])
    assert same(vision.Detector(again).detect(here.pictures[0], conf=0.001), here.detect(0))


def test_onnx_runtimes_own_quantizer_takes_the_overrides(here, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    class Reader(CalibrationDataReader):
        feeds = iter(vision.Feeds(here.calibration[:1], here.live.fp32))

        def get_next(self):
            return next(self.feeds, None)

    here.set(CHANGED, -0.123, 0.9)
    path = export.overrides(here, tmp_path / "overrides.json")
    config = get_qnn_qdq_config(str(here.live.fp32), Reader(), activation_type=QuantType.QUInt8, per_channel=True,
                                weight_type=QuantType.QInt8, init_overrides=export.read_overrides(path))  # fmt: skip
    quantize(str(here.live.fp32), str(tmp_path / "ort.onnx"), config)
    theirs, ours = qdq.list_qparams(tmp_path / "ort.onnx"), qdq.list_qparams(here.live.proto)
    activations = [t for group in here.graph.shared_scale.values() for t in group]
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

    monkeypatch.setattr(session, "qnn", absent)
    with pytest.raises(RuntimeError, match="not here"):
        export.context(here, tmp_path / "npu.onnx")
    assert not list(tmp_path.iterdir())


def test_tied_activations_are_found():
    assert graph.shared_scale(onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
        <float s = {0.5}, uint8 z = {0}, float t = {0.5}> { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
        c = Relu(b)  d = QuantizeLinear(c, s, z)  e = DequantizeLinear(d, s, z)  f = Neg(e)
        h = QuantizeLinear(f, t, z)  y = DequantizeLinear(h, t, z) }""")) == [("x", "c"), ("f",)]  # fmt: skip
