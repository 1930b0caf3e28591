"""Channels levelled across two layers."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from small_models import FEEDS, convs, random, run

from helpers import calibrate, qdq, repair
from helpers.graph import constants, read_model


def depthwise(tmp_path, act="Relu(a)"):
    """conv → act → depthwise conv → Relu → conv, channels of very different size."""
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float zero = {{0.0}}, float six = {{6.0}}> {{
      a = Conv<pads=[1,1,1,1]>(x, w1, b1)
      r = {act}
      d = Conv<pads=[1,1,1,1], group=4>(r, w2, b2)
      s = Relu(d)
      y = Conv(s, w3, b3)
    }}"""
    model, rng = onnx.parser.parse_model(text), random(1)
    size = np.float32([0.01, 0.1, 0.3, 3])
    for name, value in {
        "w1": rng.normal(size=(4, 3, 3, 3)) * size[:, None, None, None],
        "b1": rng.normal(size=4) * size,
        "w2": rng.normal(size=(4, 1, 3, 3)),
        "b2": np.zeros(4),
        "w3": rng.normal(size=(2, 4, 1, 1)) / size[:, None, None],
        "b3": np.zeros(2),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, path := tmp_path / "float.onnx")
    return path


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


def test_activations_before_a_depthwise_layer_become_level_and_8_bits_lose_less(tmp_path):
    path = depthwise(tmp_path)
    maxima = repair.channel_maxima(path, FEEDS)
    assert set(maxima) == {"r", "s"} and maxima["r"].max() > 20 * maxima["r"].min()
    out = repair.equalize(path, tmp_path / "level.onnx", maxima)
    np.testing.assert_allclose(run(out), run(path), rtol=1e-4, atol=1e-3)
    after = repair.channel_maxima(out, FEEDS)
    np.testing.assert_allclose(after["r"], 1, rtol=1e-4)
    lost = []
    for float_model in (path, out):
        ranges = calibrate.ranges(calibrate.observe(float_model, FEEDS), "minmax")
        made = qdq.quantize_model(float_model, tmp_path / "q.onnx", ranges)
        lost.append(np.mean([(run(made, f) - run(path, f)) ** 2 for f in FEEDS]))
    assert lost[1] < lost[0] / 4


def test_a_relu6_stays_and_is_exact_within_twice_what_was_seen(tmp_path):
    path = depthwise(tmp_path, "Clip(a, zero, six)")
    maxima = repair.channel_maxima(path, FEEDS)
    assert maxima["r"].max() == 6, "one channel reaches the ceiling"
    out = repair.equalize(path, tmp_path / "level.onnx", maxima)
    after = repair.channel_maxima(out, FEEDS)["r"]
    assert after.max() == 6 and (after[maxima["r"] < 3] > 2 * maxima["r"][maxima["r"] < 3]).any()
    for feed in FEEDS:
        np.testing.assert_allclose(run(out, feed), run(path, feed), rtol=1e-3, atol=2e-3)
