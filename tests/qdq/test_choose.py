"""The method that loses least on inputs that set no range."""

import numpy as np
import pytest
from small_models import classifier

from helpers import calibrate, qdq, tasks
from helpers.qdq import choose
from helpers.qdq.choose import RangeTrials, choose_method


@pytest.fixture
def made(tmp_path):
    """A classifier, its inputs, and what was observed in them."""
    path, folder = classifier(tmp_path, 9)
    fp32 = tasks.recognise(path).prepare(path, tmp_path / "fp32.onnx")
    task = tasks.recognise(fp32)
    feeds = task.feeds(task.inputs(folder), fp32)
    return fp32, task, feeds, calibrate.observe(fp32, feeds)


def test_a_changed_range_is_measured_as_a_fresh_quantization_is(made, tmp_path):
    fp32, task, feeds, histograms = made
    seen = task.reference_outputs(fp32, feeds)
    trials = RangeTrials(fp32, calibrate.ranges(histograms, "minmax"), task, seen, feeds)
    for name in calibrate.METHODS:
        ranges = calibrate.ranges(histograms, name)
        fresh = qdq.quantize_model(fp32, tmp_path / "fresh.onnx", ranges)
        one, other = qdq.list_qparams(trials.with_ranges(ranges)), qdq.list_qparams(fresh)
        assert one.keys() == other.keys()
        for tensor, qp in one.items():
            np.testing.assert_allclose(qp.scale, other[tensor].scale, rtol=1e-6)
            np.testing.assert_array_equal(qp.zero_point, other[tensor].zero_point)
        assert trials(ranges).total == pytest.approx(task.drift_against(seen, fresh, feeds).total, rel=0.05)


def test_a_range_too_small_for_the_bias_is_quantized_anew(made, tmp_path):
    fp32, task, feeds, histograms = made
    ranges = calibrate.ranges(histograms, "minmax") | {"x": (0.0, 1e-12)}
    trials = RangeTrials(fp32, calibrate.ranges(histograms, "minmax"), task, None, feeds)
    fresh = qdq.quantize_model(fp32, tmp_path / "fresh.onnx", ranges)
    assert qdq.list_qparams(trials.with_ranges(ranges)) == qdq.list_qparams(fresh)


def test_the_method_with_the_least_drift_is_chosen(made, monkeypatch):
    fp32, task, feeds, histograms = made
    half = calibrate.methods.Method("half", "half", "#000000", lambda h, dtype: (h.min / 2, h.max / 2))
    monkeypatch.setattr(choose.calibrate, "METHODS", {"half": half, **calibrate.METHODS})
    monkeypatch.setattr(calibrate.methods, "METHODS", choose.calibrate.METHODS)
    found = choose_method(fp32, histograms, task, feeds)
    assert set(found.drifts) == {"half", "minmax", "moving_average", "percentile", "mse", "entropy"}
    assert found.drifts[found.method] == min(found.drifts.values()) < found.drifts["half"]
    assert found.ranges == calibrate.ranges(histograms, found.method)


def test_auto_names_its_method_and_holds_inputs_back(tmp_path):
    path, folder = classifier(tmp_path, 9)
    files = tasks.recognise(path).inputs(folder)
    made = qdq.calibrate_and_quantize(path, files, tmp_path, "auto")
    assert made.method in calibrate.METHODS
    assert made.ranges == calibrate.ranges(made.histograms, made.method)
    assert len(made.histograms["x"].feeds) == 6 and len(made.feeds) == 9
    assert np.isfinite(list(made.ranges.values())).all()
    assert qdq.calibrate_and_quantize(path, files, tmp_path, "mse").method == "mse"
