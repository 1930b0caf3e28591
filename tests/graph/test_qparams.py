"""A QDQ graph read."""

import onnx

from helpers import graph


def test_tied_activations_are_found():
    assert graph.shared_scale(onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
        <float s = {0.5}, uint8 z = {0}, float t = {0.5}> { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
        c = Relu(b)  d = QuantizeLinear(c, s, z)  e = DequantizeLinear(d, s, z)  f = Neg(e)
        h = QuantizeLinear(f, t, z)  y = DequantizeLinear(h, t, z) }""")) == [("x", "c"), ("f",)]  # fmt: skip
