"""Rounding with inputs in view, on graphs small enough to check by hand."""

import numpy as np
import onnx
import onnx.parser
import pytest
from small_models import FEEDS, convs, random, run

from helpers import assets, calibrate, qdq, repair, session, vision
from helpers.graph import Model, constants, read_model
from helpers.repair import moments, rounding, rows


def test_rounding_with_inputs_in_view_beats_rounding_to_nearest():
    rng = random()
    x = rng.normal(size=(500, 1)) + 0.3 * rng.normal(size=(500, 32))  # inputs that resemble each other
    w, scale = rng.normal(size=(4, 32)), np.full(4, 0.5)
    codes = rows.round_rows(w, scale, x.T @ x / len(x))
    nearest = np.rint(w / scale[:, None])
    lost = [np.mean((x @ (w - q * scale[:, None]).T) ** 2) for q in (codes, nearest)]
    assert lost[0] < lost[1] / 4
    np.testing.assert_array_equal(codes, np.rint(codes))


def test_patches_times_weights_are_the_convolution(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    model = read_model(path)
    w = constants(model)["w1"]
    node = model.graph.node[0]
    every = moments._patches(node, FEEDS[0]["x"], w.shape, 64, np.random.default_rng(0))
    model.graph.output.extend([onnx.ValueInfoProto(name="a")])
    onnx.save(model, tmp_path / "a.onnx")
    a = session.load(tmp_path / "a.onnx").run(["a"], FEEDS[0])[0]
    mine = np.sort(every @ w.reshape(4, -1).T + constants(model)["b1"], 0)
    np.testing.assert_allclose(mine, np.sort(a[0].reshape(4, -1).T, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", [repair.correct_bias, repair.round_adaptively])
def test_weights_only_error_falls(tmp_path, step):
    path = convs(tmp_path, "h = Relu(a)")
    ranges = calibrate.ranges(calibrate.observe(path, FEEDS), "minmax")
    plain = qdq.quantize_model(path, tmp_path / "plain.onnx", ranges, activation="uint16")  # so that weights err
    out = step(path, plain, FEEDS, tmp_path / "better.onnx")
    bias = [np.mean([run(p, f) - run(path, f) for f in FEEDS], axis=(0, 1, 3, 4)) for p in (out, plain)]
    assert np.abs(bias[0]).max() < np.abs(bias[1]).max()
    before, after = qdq.list_qparams(plain), qdq.list_qparams(out)
    assert before == after


def test_foreign_model_is_refused(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    ranges = calibrate.ranges(calibrate.observe(path, FEEDS), "minmax")
    plain = qdq.quantize_model(path, tmp_path / "plain.onnx", ranges)
    feeds = vision.Feeds(assets.images()[:1], assets.model())
    with pytest.raises(ValueError, match="give the model that it was made from"):
        repair.correct_bias(assets.model(), plain, feeds, tmp_path / "out.onnx")


def test_second_moments_come_in_parts_that_fit(tmp_path, monkeypatch):
    path = convs(tmp_path, "h = Relu(a)")
    model = Model.of(path)
    assert rounding._batches(model) == [["w1", "w2"]]
    monkeypatch.setattr(rounding, "_HELD", 4 * 27**2)
    assert rounding._batches(model) == [["w1"], ["w2"]]
    assert list(moments.input_moments(path, FEEDS, only=["w2"])) == ["w2"]
    assert list(moments.input_moments(path, FEEDS, only=["w1"])) == ["w1"], "which reads the graph's input alone"


def test_the_inverse_root_is_one_across_blocks():
    x = random().normal(size=(90, 37))
    h = x.T @ x / 90
    low = rows._inverse_root(h.copy(), block=8)
    np.testing.assert_array_equal(np.triu(low, 1), 0)
    np.testing.assert_allclose(low @ h @ low.T, np.eye(37), atol=1e-9)
