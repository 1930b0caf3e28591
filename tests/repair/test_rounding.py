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


def test_scales_by_least_output_error_lose_less_than_the_largest_weight():
    rng = random()
    x, w = rng.normal(size=(500, 24)), rng.standard_t(3, size=(5, 24))
    second, largest = x.T @ x / len(x), np.abs(w).max(1) / 7.5
    lost = [
        ((w - rows.nearest_rows(w, s, "int4") * s[:, None]) @ x.T).var(1)
        for s in (rows.best_scales(w, second, "int4"), largest)
    ]
    assert np.all(lost[0] <= lost[1] * 1.0001) and lost[0].sum() < 0.8 * lost[1].sum()
    assert rows.best_scales(np.zeros((1, 24)), second)[0] == 1, "an empty channel"


@pytest.mark.parametrize("step", [repair.correct_bias, repair.fit_weight_scales, repair.round_adaptively])
def test_four_bits_stay_four_bits_and_lose_less(tmp_path, step):
    path = convs(tmp_path, "h = Relu(a)")
    ranges = calibrate.ranges(calibrate.observe(path, FEEDS), "minmax")
    plain = qdq.quantize_model(path, tmp_path / "plain.onnx", ranges, weight="int4")
    out = step(path, plain, FEEDS, tmp_path / "better.onnx")
    lost = [np.mean([(run(p, f) - run(path, f)) ** 2 for f in FEEDS]) for p in (out, plain)]
    assert lost[0] < lost[1]
    params, codes = qdq.list_qparams(out), constants(out)["w1_quantized"].astype(int)
    assert params["w1"].dtype == params["w2"].dtype == "int4" and codes.min() >= -8 and codes.max() <= 7
    np.testing.assert_allclose(params["b1"].scale, params["x"].scale * params["w1"].scale, rtol=1e-5)


def test_weights_that_no_repair_knows_are_refused_by_name(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    ranges = calibrate.ranges(calibrate.observe(path, FEEDS), "minmax")
    wide = qdq.quantize_model(path, tmp_path / "wide.onnx", ranges, weight="int16")
    one = qdq.quantize_model(path, tmp_path / "one.onnx", ranges, per_channel=False)
    for step, model, message in (
        (repair.round_adaptively, wide, "weights 'w1' are int16; quantize them to int8 or int4"),
        (repair.fit_weight_scales, one, "one scale for all; quantize them per channel"),
    ):
        with pytest.raises(ValueError, match=message):
            step(path, model, FEEDS, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
    with pytest.raises(ValueError, match="'int2' have no recipe; choose one of int8, int4"):
        repair.quantize_best(path, FEEDS, tmp_path / "out.onnx", weight="int2")


LAYERS = {
    "depthwise": ("Conv<pads=[1,1,1,1], group=3>(x, w, b)", (3, 1, 3, 3), "float[1,3,8,8] y", True),
    "grouped": ("Conv<pads=[1,1,1,1], group=3>(x, w, b)", (6, 1, 3, 3), "float[1,6,8,8] y", True),
    "gemm": ("Gemm<transB=1>(f, w, b)", (5, 64), "float[3,5] y", True),
    "gemm, not transposed": ("Gemm(f, w, b)", (64, 5), "float[3,5] y", True),
    "matmul": ("MatMul(f, w)", (64, 5), "float[3,5] y", False),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_with_weights_is_rounded_and_loses_less(tmp_path, kind):
    op, shape, output, biased = LAYERS[kind]
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x) => ({output}) <int64[2] s = {{3, 64}}>
    {{ f = Reshape(x, s) y = {op} }}"""
    if "(f" not in op:
        text = text.replace("f = Reshape(x, s) ", "")
    model, rng = onnx.parser.parse_model(text), random(2)
    out_channels = 5 if "(f" in op else shape[0]
    for name, value in {"w": rng.normal(size=shape), "b": rng.normal(size=out_channels)}.items():
        if name == "w" or biased:
            model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    model.graph.node[-1].name = "layer"
    onnx.save(model, path := tmp_path / "float.onnx")
    feeds = [{"x": f["x"] + np.float32(1.5)} for f in FEEDS]  # inputs with a mean, so that rounding moves the output
    ranges = calibrate.ranges(calibrate.observe(path, feeds), "minmax")
    plain = qdq.quantize_model(path, tmp_path / "plain.onnx", ranges, activation="uint16")
    better = repair.round_adaptively(path, plain, feeds, tmp_path / "better.onnx")
    lost = [np.mean([(run(p, f) - run(path, f)) ** 2 for f in feeds]) for p in (better, plain)]
    assert lost[0] < 0.8 * lost[1]
