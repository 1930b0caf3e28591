"""Repair: what each step promises, on graphs small enough to check by hand and on data/'s model."""

from itertools import pairwise

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from helpers import assets, calibrate, drift, qdq, repair, rounding, session, vision
from helpers.graph import constants, read_model


def random(seed: int = 0):
    """A generator of its own for every test, so that their order does not matter."""
    return np.random.default_rng(seed)


def convs(tmp_path, between: str, channels: int = 4):
    """conv → `between` → conv, with channels of very different size."""
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[1,3,8,8] x) => (float[1,2,8,8] y) {{
      a = Conv<pads=[1,1,1,1]>(x, w1, b1)
      {between}
      y = Conv(h, w2, b2)
    }}"""
    model = onnx.parser.parse_model(text)
    size, rng = np.float32([0.01, 0.1, 1, 10])[:channels, None, None, None], random(1)
    for name, value in {
        "w1": rng.normal(size=(channels, 3, 3, 3)) * size,
        "b1": rng.normal(size=channels) * size.ravel(),
        "w2": rng.normal(size=(2, channels, 1, 1)),
        "b2": np.zeros(2),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, path := tmp_path / "float.onnx")
    return path


FEEDS = [{"x": random(k).normal(size=(1, 3, 8, 8)).astype(np.float32)} for k in range(8)]


def run(path, feed=FEEDS[0]):
    return session.load(path).run(None, feed)[0]


def test_equalize_levels_the_channels_and_changes_nothing_else(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    out = repair.equalize(path, tmp_path / "equal.onnx")
    np.testing.assert_allclose(run(out), run(path), rtol=1e-4, atol=1e-4)
    w = constants(read_model(out))
    np.testing.assert_allclose(np.abs(w["w1"]).max((1, 2, 3)), np.abs(w["w2"]).max((0, 2, 3)), rtol=1e-5)


def test_equalize_refuses_silu(tmp_path):
    with pytest.raises(ValueError, match="SiLU does not let a scale through"):
        repair.equalize(convs(tmp_path, "s = Sigmoid(a) h = Mul(a, s)"), tmp_path / "equal.onnx")
    assert not (tmp_path / "equal.onnx").exists()


def test_rounding_with_inputs_in_view_beats_rounding_to_nearest():
    rng = random()
    x = rng.normal(size=(500, 1)) + 0.3 * rng.normal(size=(500, 32))  # inputs that resemble each other
    w, scale = rng.normal(size=(4, 32)), np.full(4, 0.5)
    codes = rounding.round_rows(w, scale, x.T @ x / len(x))
    nearest = np.rint(w / scale[:, None])
    lost = [np.mean((x @ (w - q * scale[:, None]).T) ** 2) for q in (codes, nearest)]
    assert lost[0] < lost[1] / 4
    np.testing.assert_array_equal(codes, np.rint(codes))


def test_patches_times_weights_are_the_convolution(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    model = read_model(path)
    w = constants(model)["w1"]
    node = model.graph.node[0]
    every = rounding._patches(node, FEEDS[0]["x"], w.shape, 64, np.random.default_rng(0))
    model.graph.output.extend([onnx.ValueInfoProto(name="a")])
    onnx.save(model, tmp_path / "a.onnx")
    a = session.load(tmp_path / "a.onnx").run(["a"], FEEDS[0])[0]
    mine = np.sort(every @ w.reshape(4, -1).T + constants(model)["b1"], 0)
    np.testing.assert_allclose(mine, np.sort(a[0].reshape(4, -1).T, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", [repair.correct_bias, repair.round_adaptively])
def test_weights_only_error_falls(tmp_path, step):
    path = convs(tmp_path, "h = Relu(a)")
    ranges = {t: calibrate.minmax(h) for t, h in calibrate.observe(path, FEEDS).items()}
    plain = qdq.quantize_model(path, tmp_path / "plain.onnx", ranges, activation="uint16")  # so that weights err
    out = step(path, plain, FEEDS, tmp_path / "better.onnx")
    bias = [np.mean([run(p, f) - run(path, f) for f in FEEDS], axis=(0, 1, 3, 4)) for p in (out, plain)]
    assert np.abs(bias[0]).max() < np.abs(bias[1]).max()
    before, after = qdq.list_qparams(plain), qdq.list_qparams(out)
    assert before == after


def test_foreign_model_is_refused(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    ranges = {t: calibrate.minmax(h) for t, h in calibrate.observe(path, FEEDS).items()}
    plain = qdq.quantize_model(path, tmp_path / "plain.onnx", ranges)
    feeds = vision.Feeds(assets.images()[:1], assets.model())
    with pytest.raises(ValueError, match="give the model that it was made from"):
        repair.correct_bias(assets.model(), plain, feeds, tmp_path / "out.onnx")


def test_ranges_of_data_know_what_follows(tmp_path):
    fp32 = qdq.split_head(assets.model(), tmp_path / "fp32.onnx")
    feeds = list(vision.Feeds(assets.images()[:2], fp32))
    histograms = calibrate.observe(fp32, feeds)
    ranges = repair.functional_ranges(fp32, histograms)
    model = read_model(fp32)
    assert set(ranges) == set(histograms)
    assert ranges["images"] == (0, 1)
    for score in [o.name for o in model.graph.output][1::2]:
        assert ranges[score][0] >= -7 and ranges[score][1] >= histograms[score].max
    qdq.quantize_model(fp32, tmp_path / "mse.onnx", {t: calibrate.mse(h) for t, h in histograms.items()})
    plain = qdq.quantize_model(fp32, tmp_path / "int8.onnx", ranges)
    for box in [o.name for o in model.graph.output][::2]:
        assert ranges[box][1] == histograms[box].max, "the peak is the answer: never clip it"
    assert 0 < drift.drift(fp32, plain, feeds).total < 0.1
    assert drift.drift(fp32, fp32, feeds).total < 1e-6
    with pytest.raises(ValueError, match="cut the head first"):
        drift.drift(assets.model(), plain, feeds)
    wide = {t: calibrate.minmax(h) for t, h in histograms.items()}
    front = repair.search_a16(fp32, ranges, wide, feeds[:2], share=0.03, tries=2)
    assert all(len(a["a16"]) < len(b["a16"]) and a["drift"].total > b["drift"].total for a, b in pairwise(front))
    assert 0 < len(front[-1]["a16"]) <= 0.03 * len(ranges)


def test_drift_is_that_of_the_decoded_boxes(tmp_path):
    fp32 = qdq.split_head(assets.model(), tmp_path / "fp32.onnx")
    feed = next(iter(vision.Feeds(assets.images()[:1], fp32)))
    outputs = session.load(fp32).run(None, feed)
    seen = drift._seen(outputs)
    k = max(range(3), key=lambda k: len(seen[k][2]))
    at, best, score, sides = seen[k]
    xyxy, scores, classes = vision.decode(outputs[2 * k : 2 * k + 2], 320, 0.09)
    stride = 320 / outputs[2 * k].shape[-1]
    centre = (np.stack([at[1], at[0]], 1) + 0.5) * stride
    mine = np.concatenate([centre - sides[:, :2] * stride, centre + sides[:, 2:] * stride], 1)
    assert len(mine)
    for k, box in enumerate(mine):
        same = (classes == best[k]) & np.isclose(scores, score[k])
        assert np.isclose(xyxy[same], box).all(1).any()
    moved = sides + np.float64([0, 0, 1, 0])
    whole = np.concatenate([mine[:, :2], mine[:, 2:] + np.float64([stride, 0])], 1)
    np.testing.assert_allclose(drift._iou(sides, moved), vision.box_iou(mine, whole), rtol=1e-6)


def test_clipping_counts_more_than_rounding():
    h = calibrate.Histogram().update(random().normal(-3, 4, 20_000))
    narrow, wide = repair.silu_range(h, clipping=1), repair.silu_range(h, clipping=16)
    assert wide[0] < narrow[0] and wide[1] >= narrow[1]
    assert repair.silu_range(h, "uint16") == calibrate.minmax(h)


def test_the_recipe_is_better_than_its_start_and_says_what_it_did(tmp_path):
    fp32 = qdq.split_head(assets.model(), tmp_path / "fp32.onnx")
    feeds = list(vision.Feeds(assets.images()[:6], fp32))
    made = repair.best(fp32, feeds, tmp_path / "best.onnx", probe=3, rounding=3, share=0.03)
    total = [step["score"] + step["box"] for step in made["steps"]]
    assert total[-1] < 0.8 * total[0]
    params = qdq.list_qparams(tmp_path / "best.onnx")
    wide = {t for t, qp in params.items() if qp.dtype == "uint16"}
    assert set(made["a16"]) <= wide and 0 < len(wide) <= 0.03 * len(made["ranges"]), "copies count too"
    judged = list(vision.Feeds(assets.images("validation")[:6], fp32))
    plain = qdq.quantize_model(fp32, tmp_path / "mse.onnx", {
        t: calibrate.mse(h) for t, h in calibrate.observe(fp32, feeds).items()
    })  # fmt: skip
    a, b = (drift.drift(fp32, m, judged).total for m in (tmp_path / "best.onnx", plain))
    assert a < b, "and on pictures that it has not seen"


def test_second_moments_come_in_parts_that_fit(tmp_path, monkeypatch):
    model = read_model(path := convs(tmp_path, "h = Relu(a)"))
    stored = constants(model)
    assert rounding._batches(model, stored) == [["w1", "w2"]]
    monkeypatch.setattr(rounding, "_HELD", 4 * 27**2)
    assert rounding._batches(model, stored) == [["w1"], ["w2"]]
    assert list(rounding.moments(path, FEEDS, only=["w2"])) == ["w2"]
    assert list(rounding.moments(path, FEEDS, only=["w1"])) == ["w1"], "which reads the graph's input alone"


def test_the_inverse_root_is_one_across_blocks():
    x = random().normal(size=(90, 37))
    h = x.T @ x / 90
    low = rounding._inverse_root(h.copy(), block=8)
    np.testing.assert_array_equal(np.triu(low, 1), 0)
    np.testing.assert_allclose(low @ h @ low.T, np.eye(37), atol=1e-9)
