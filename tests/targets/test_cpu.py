"""The CPU as a target: the graph as written, or fused, with the same sums."""

import numpy as np
import onnx

from helpers import session


def test_fused_integer_kernels_on_the_cpu_do_not_saturate(tmp_path):
    """255·127 + 255·127 is more than 16 bits hold: without VNNI, ONNX Runtime's quick kernels would clip it."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1,4,8,8] x) => (float[1,4,8,8] y)
        <float s = {1.0}, uint8 z = {0}, float sw = {1.0}, int8 zw = {0}, float sy = {1000.0}, uint8 zy = {0}> {
          a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)  v = DequantizeLinear(w, sw, zw)
          c = Conv(b, v)  d = QuantizeLinear(c, sy, zy)  y = DequantizeLinear(d, sy, zy) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((4, 4, 1, 1), 127, np.int8), "w"))
    onnx.save(model, tmp_path / "loud.onnx")
    feed = {"x": np.full((1, 4, 8, 8), 255, np.float32)}
    written, fused = (session.load(tmp_path / "loud.onnx", optimize=o).run(None, feed)[0] for o in (False, True))
    assert (written == 130_000).all() and np.abs(fused - written).max() <= 1000  # 4·255·127 = 129,540, one step is 1000
