"""Ties that random nets hardly meet, held against the HTP: in the constant of an Add, in a pixel between two codes."""

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from onnx.parser import parse_model

from helpers import integer, session

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
@pytest.mark.parametrize("scale, zero", [(1 / 255, 0), (0.93 / 255, 0), (0.0123, 117)])
def test_a_float_input_is_rounded_once_to_float16(scale, zero, tmp_path):
    text = f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,320,320] x) => (uint8[1,3,320,320] y) <float s = {{{scale}}}, uint8 z = {{{zero}}}> {{
          a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
          c = Sigmoid(b)  y = QuantizeLinear(c, s, z) }}"""
    net = parse_model(text)
    onnx.save(net, tmp_path / "x.onnx")
    noise = np.random.default_rng(0).uniform(-0.2, 1.2, (1, 3, 320, 320)).astype(np.float32)
    theirs = session.load(tmp_path / "x.onnx", "htp").run(None, {"x": noise})[0]
    assert np.array_equal(integer.run(net, {"x": noise})["y"], theirs)
