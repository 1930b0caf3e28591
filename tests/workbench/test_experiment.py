"""The experiment: a change in place is a fresh quantization."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from helpers import calibrate, qdq, vision
from helpers.workbench import experiment, export

CHANGED = "/model.1/act/Mul_output_0"


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def fresh(here, tmp_path, name="fresh.onnx"):
    ranges = {t: here.patched.ranges[one] for one, group in here.patched.shared_scale.items() for t in group}
    a16 = [t for one in here.patched.a16 for t in here.patched.shared_scale[one]]
    weights = {"weight": here.patched.weight, "per_channel": here.patched.per_channel}
    return qdq.quantize_model(here.patched.fp32, tmp_path / name, ranges, a16=a16, **weights)


def test_undo_restores_every_byte(here):
    before, boxes = here.patched.proto.SerializeToString(deterministic=True), here.results(0)
    here.set(CHANGED, -5, 300)  # so coarse that the biases' codes lose what they knew
    here.set("/model.9/m/MaxPool_output_0", -0.1, 2)
    assert here.patched.proto.SerializeToString(deterministic=True) != before and not same(here.results(0), boxes)
    here.undo()
    assert list(here.settings["ranges"]) == [CHANGED]
    here.undo()
    here._found.clear()
    assert here.patched.proto.SerializeToString(deterministic=True) == before and same(here.results(0), boxes)


@pytest.mark.parametrize("tensor", [CHANGED, "images", "/model.9/m/MaxPool_output_0", "/model.2/Split_output_1"])
def test_a_change_in_place_is_a_fresh_quantization(here, tmp_path, tensor):
    here.results(0)  # the session that has to outlive the change
    low, high = here.patched.ranges[here.representative(tensor)]
    here.set(tensor, low * 0.7, high * 0.37)
    made = fresh(here, tmp_path)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(made).graph.initializer}
    assert all(
        np.array_equal(stored[t.name], onnx.numpy_helper.to_array(t)) for t in here.patched.proto.graph.initializer
    )
    for target in ("cpu", "integer"):
        assert same(here.results(0, target), vision.Detector(made, target).detect(here.inputs[0], conf=0.001))


def test_bits_and_weights_quantize_anew(here, tmp_path):
    here.set(CHANGED, *here.patched.ranges[CHANGED], "uint16")
    here.set(CHANGED, -0.2, 1.5)
    assert qdq.list_qparams(here.patched.proto)[CHANGED].dtype == "uint16" == here.dtype(CHANGED)
    assert same(here.results(1), vision.Detector(fresh(here, tmp_path)).detect(here.inputs[1], conf=0.001))
    with pytest.raises(ValueError, match=r"quantize every activation to uint8"):
        here.results(1, "integer")
    here.set_method(CHANGED, "minmax")
    sqnr = here.sqnr(CHANGED)
    here.set(CHANGED, *here.patched.ranges[CHANGED], "uint8")
    assert sqnr > here.sqnr(CHANGED) + 20
    here.set("/model.0/act/Sigmoid_output_0", 0, 0.7, "uint16")  # whose range QNN's configuration would overrule
    assert qdq.list_qparams(here.patched.proto)["/model.0/act/Sigmoid_output_0"].scale == np.float32(0.7) / 65535
    here.undo()
    here.set_weights("int8", per_channel=False)
    assert same(here.results(1), vision.Detector(fresh(here, tmp_path)).detect(here.inputs[1], conf=0.001))


def test_weights_in_4_bits_are_a_fresh_quantization_too(here, tmp_path):
    before = here.results(0)
    here.set_weights("int4")
    here.set(CHANGED, -0.2, 1.5)  # in place, on 4-bit weights
    made = fresh(here, tmp_path)
    assert qdq.list_qparams(made)["model.0.conv.weight"].dtype == "int4" == here.settings["weight"]
    assert same(here.results(0), vision.Detector(made).detect(here.inputs[0], conf=0.001))
    assert not same(here.results(0), before) and here.history[-2]["what"] == "weights: int4 per channel"
    for wrong in (("int4", False), ("int2", True)):
        with pytest.raises(ValueError, match="int4 with a scale for each channel"):
            here.set_weights(*wrong)
    here.undo()
    here.undo()
    assert here.settings["weight"] == "int8" and same(here.results(0), before)


def test_guilt_is_the_isolated_sqnr(here):
    feeds = vision.Feeds(here.calibration, here.patched.fp32)
    int8 = export.model(here, here.patched.folder / "m.onnx")
    measured = qdq.layer_sqnr(here.patched.fp32, int8, feeds, isolated=True, only="activations")
    seen = {t: db for t, db in measured.items() if t in here.patched.shared_scale and np.isfinite(db)}
    both = np.array([(db, here.sqnr(t)) for t, db in seen.items()])
    assert len(both) > 150 and np.median(np.abs(both[:, 0] - both[:, 1])) < 0.3
    assert here.tensors == sorted(here.tensors, key=here.sqnr) and set(here.tensors) == set(here.patched.shared_scale)
    here.set(CHANGED, -0.01, 0.02)
    assert here.tensors[0] == CHANGED


def test_a_sample_is_what_the_histogram_counted(here):
    own = experiment.Experiment(here.model, here.inputs[:1])
    for tensor in (CHANGED, "images", "/model.20/Concat_output_0"):
        x = own.sample(tensor, 0)
        counted = own.histograms[tensor]
        assert (x.min(), x.max()) == pytest.approx((counted.min, counted.max), rel=1e-4)


def test_methods_give_their_ranges(here):
    for name, method in calibrate.METHODS.items():
        here.set_method(CHANGED, name)
        assert here.patched.ranges[CHANGED] == pytest.approx(method(here.histograms[CHANGED], "uint8"), rel=1e-6)


def test_metrics_are_those_of_vision_and_history_goes_forward(here):
    here.set_method(CHANGED, "minmax")
    seen = []
    metrics = here.metrics(each=seen.append)
    direct = vision.paired_metrics(here.reference, [here.results(k) for k in range(3)])
    assert metrics == {k: tuple(direct[k]) for k in here.task.shown} and seen == [1, 2, 3]
    count = len(here.history)
    here.metrics("integer")
    assert len(here.history) == count + 1 and here.history[-1]["target"] == "integer"
    times = [e["time"] for e in here.history]
    assert times == sorted(times)

    def stop(done):
        raise InterruptedError

    here.set_method(CHANGED, "entropy")
    with pytest.raises(InterruptedError):
        here.metrics(each=stop)
    assert here.history[-1]["metrics"] is None


def test_kept_settings_can_be_visited(here):
    before, count = here.results(0), len(here.history)
    here.keep("A")
    here.set(CHANGED, -0.05, 0.3)
    changed = here.results(0)
    with here.at("A"):
        assert same(here.results(0), before) and here.judge() == here.judge()
    assert same(here.results(0), changed) and len(here.history) == count + 1 and not same(before, changed)


def test_what_cannot_be_set_changes_nothing(here):
    before, count = here.patched.proto.SerializeToString(deterministic=True), len(here.history)
    for call, words in (
        (lambda: here.set(CHANGED, 1e-30, 1e-30), "more than 32 bits"),
        (lambda: here.set(CHANGED, 2, 1), "rmin ≤ rmax"),
        (lambda: here.set("/model.1/act/Mul_output", 0, 1), "nearest names are .*Mul_output_0"),
        (lambda: here.set(CHANGED, *here.patched.ranges[CHANGED], "int4"), "uint8 or uint16"),
        (lambda: here.set_method(CHANGED, "best"), "unknown"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert here.patched.proto.SerializeToString(deterministic=True) == before and len(here.history) == count


def test_the_input_to_look_at_first_has_the_most_to_see_below_twelve(here, monkeypatch):
    monkeypatch.setattr(here, "reference", ["a" * n for n in (3, 11, 40)])
    monkeypatch.setattr(here, "task", SimpleNamespace(count=len))
    assert here.busiest == 1
    monkeypatch.setattr(here, "reference", ["a" * n for n in (30, 13, 40)])
    assert here.busiest == 1, "where all have too many, the one with the fewest"


def test_what_is_read_is_not_written(here, tmp_path):
    assert here.writable(tmp_path / "new.onnx") == tmp_path / "new.onnx"
    for path in (here.model, here.inputs[0], here.calibration[0]):
        with pytest.raises(ValueError, match="is read here and would be written over"):
            here.writable(path)
