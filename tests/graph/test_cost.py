"""Costs counted by hand, and the stored numbers of YOLOv8n against the real model where it is."""

import numpy as np
import onnx
import pytest

from helpers import assets, qdq
from helpers.graph import cost

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x, float[4,3,3,3] w, float[4] b) => (float[1,8,4,4] z) {
  y = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)
  s = Sigmoid (y)
  a = Mul (y, s)
  z = Concat <axis = 1> (a, y)
}"""


def test_a_convolution_s_cost_is_the_one_counted_by_hand(tmp_path):
    model = onnx.parser.parse_model(TEXT)
    for name, shape in {"w": (4, 3, 3, 3), "b": (4,)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    onnx.save(model, tmp_path / "net.onnx")
    conv, concat = cost.layers(tmp_path / "net.onnx")
    assert conv[1:] == ("Conv", 4 * 4 * 4 * 27, 3 * 64, 4 * 16, 4 * 27 + 4)
    assert concat[1:] == ("Concat", 0, 2 * 64, 128, 0)
    assert cost.seconds(conv, 1e3, 1e9) == conv.macs / 1e3
    assert cost.seconds(conv, 1e9, 1e3, activation=2) == pytest.approx(((192 + 64) * 2 + 112) / 1e3)


@pytest.mark.yolo
def test_the_stored_numbers_are_the_real_yolov8n_s(tmp_path):
    try:
        model = assets.model("yolov8n")
    except (FileNotFoundError, ImportError) as e:
        pytest.skip(str(e))
    assert cost.layers(qdq.split_head(model, tmp_path / "cut.onnx")) == cost.yolov8n()
