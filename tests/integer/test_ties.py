"""Ties that random nets hardly meet, held against the HTP: in the constant of an Add, in a pixel between two codes."""

import shutil

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from onnx.parser import parse_model

from helpers import assets, graph, integer, qdq, session, vision

EVERY = np.arange(256, dtype=np.uint8)
# (S_a, S_b, S_y), (Z_a, Z_b, Z_y): Add's constant ends in a half, below zero and above.
TIES = [
    ((0.014, 0.027, 0.014), (150, 128, 222)),
    ((0.045, 0.04, 0.018), (167, 128, 156)),
    ((0.018, 0.029, 0.027), (52, 68, 181)),
    ((0.031, 0.012, 0.031), (33, 128, 241)),
]


def add_net(scales, zeros):
    values = ", ".join(
        f"float s{t} = {{{s}}}, uint8 z{t} = {{{z}}}" for t, s, z in zip("aby", scales, zeros, strict=True)
    )
    return parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (uint8[1,1,256,256] a, uint8[1,1,256,256] b) => (uint8[1,1,256,256] y) <{values}> {{
          ad = DequantizeLinear(a, sa, za)  bd = DequantizeLinear(b, sb, zb)
          yf = Add(ad, bd)  y = QuantizeLinear(yf, sy, zy) }}""")


@needs_htp
@pytest.mark.parametrize("scales, zeros", TIES)
def test_the_constant_of_an_add_rounds_halves_down(scales, zeros, tmp_path):
    net = add_net(scales, zeros)
    onnx.save(net, tmp_path / "add.onnx")
    shape = (1, 1, 256, 256)
    feed = {"a": np.broadcast_to(EVERY[:, None], shape).copy(), "b": np.broadcast_to(EVERY, shape).copy()}
    theirs = session.load(tmp_path / "add.onnx", "htp").run(None, feed)[0]
    assert np.array_equal(integer.run(net, feed)["y"], theirs)


@needs_htp
@pytest.mark.parametrize("scale, zero", [(1 / 255, 0), (0.93 / 255, 0), (0.0123, 117), (3.7, 200)])
def test_a_float_input_is_multiplied_and_rounded_once_to_float16(scale, zero, tmp_path):
    net = parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,160,160] x) => (uint8[1,160,160,3] y) <float s = {{{scale}}}, uint8 z = {{{zero}}}> {{
          a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
          c = Transpose<perm = [0, 2, 3, 1]>(b)  y = QuantizeLinear(c, s, z) }}""")
    onnx.save(net, tmp_path / "x.onnx")
    rng, shape = np.random.default_rng(0), (1, 3, 160, 160)
    half = rng.integers(0, 255 - zero, shape) + 0.5
    edge = half - np.spacing(half.astype(np.float16)).astype(np.float64) / 2  # between two float16, one of them a half
    hard = edge * np.float32(scale) * (1 + rng.uniform(-3e-7, 3e-7, shape))
    for x in (hard, rng.uniform(-0.2, 1.2, shape) * 255 * scale):
        feed = {"x": x.astype(np.float32)}
        assert np.array_equal(integer.run(net, feed)["y"], session.load(tmp_path / "x.onnx", "htp").run(None, feed)[0])


@needs_htp
@pytest.mark.parametrize("ratio", [0.9947, 0.9953, 1.0047, 1.0053])
def test_a_concat_takes_scales_within_half_a_percent_for_one(ratio, int8, tmp_path):
    """Nearer, codes stay as they are; a wider gap recodes them."""
    source, joined = "/model.2/Split_output_0", "/model.2/Concat_output_0"
    qp, near = graph.Model.of(int8).qparams[source], shutil.copy(int8, tmp_path / "near.onnx")
    step = qp.scale / ratio
    qdq.set_range(near, joined, -step * qp.zero_point, step * (255 - qp.zero_point))
    assert graph.Model.of(near).qparams[joined].zero_point == qp.zero_point
    feed = next(iter(vision.Feeds(assets.images("validation")[:1], near)))
    exposed = qdq.expose(near, [joined], tmp_path / "exposed.onnx")
    sessions = [session.load(exposed, target) for target in ("integer", "htp")]
    name = next(o.name for o in sessions[0].get_outputs() if o.name.startswith(joined))
    ours, theirs = (s.run([name], feed)[0] for s in sessions)
    assert ours.dtype == np.uint8 and np.array_equal(ours, theirs)
