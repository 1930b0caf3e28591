"""onnxruntime-qnn 2.7.0: what a table writes into a Concat stays at that Concat's scale behind a Reshape and a Concat.

The day these fail it is mended: then `qdq.htp_faults` has nothing left to find, and goes.
"""

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from onnx import numpy_helper

from helpers import qdq, session

FUNCTIONS = {"Sigmoid": "f = Sigmoid(b)", "SiLU": "g = Sigmoid(b)  f = Mul(b, g)", "Abs": "f = Abs(b)"}
SOUND = {"Relu": "f = Relu(b)", "LeakyRelu": "f = LeakyRelu(b)"}
BETWEEN = {"Reshape": "Reshape(c, flat)", "Squeeze": "Squeeze(c, first)"}
NONE = {"Transpose": "Transpose<perm=[0, 2, 3, 1]>(c)", "Reshape to the same shape": "Reshape(c, same)"}


def net(folder, function: str, between: str, inner=(-30.0, 30.0)):
    """x → Conv → function → Concat (range `inner`) → between → Concat (−40 … 50), quantized."""
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4,6,6] x) => (float[] y)
        <int64[3] flat = {{1, 8, 36}}, int64[4] same = {{1, 8, 6, 6}}, int64[1] first = {{0}}> {{
        a = Conv(x, w)  b = Conv(x, v)  {function}  c = Concat<axis=1>(a, f)
        r = {between}  n = Neg(r)  y = Concat<axis=1>(r, n) }}""")
    for k, node in enumerate(model.graph.node):
        node.name = f"n{k}"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name in "wv":
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=(4, 4, 1, 1)).astype("f4"), name))
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")
    ranges = dict.fromkeys("abfg", (-20.0, 20.0)) | {"x": (-3.0, 5.0), "c": inner, "r": inner, "n": inner}
    ranges = {t: r for t, r in ranges.items() if t != "g" or function == FUNCTIONS["SiLU"]}
    return qdq.quantize_model(folder / "float.onnx", folder / "q.onnx", ranges | {"y": (-40.0, 50.0)})


def steps_off(path) -> float:
    x = (np.random.default_rng(1).integers(0, 256, (1, 4, 6, 6)).astype("f4") - 96) * np.float32(8 / 255)
    there, here = (session.load(path, target).run(None, {"x": x})[0] for target in ("htp", "cpu"))
    return float(np.abs(there - here).max() / qdq.list_qparams(path)["y"].scale)


@needs_htp
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_fault_is_there_and_found(function, between, tmp_path):
    path = net(tmp_path, FUNCTIONS[function], BETWEEN[between])
    assert steps_off(path) > 10
    (found,) = qdq.htp_faults(path)
    assert (found.functions, found.inner, found.outer) == (("f",), "c", "y") and found.node
    (again,) = qdq.htp_faults(tmp_path / "float.onnx")
    assert again == found and "`qdq.set_range`" in found.remedy


@needs_htp
@pytest.mark.parametrize("between", NONE)
def test_no_fault_without_a_new_shape(between, tmp_path):
    path = net(tmp_path, FUNCTIONS["Sigmoid"], NONE[between])
    assert steps_off(path) < 2.5 and not qdq.htp_faults(path)


@needs_htp
@pytest.mark.parametrize("function", SOUND)
def test_no_fault_behind_what_is_no_table(function, tmp_path):
    path = net(tmp_path, SOUND[function], BETWEEN["Reshape"])
    assert steps_off(path) < 2.5 and not qdq.htp_faults(path)


@needs_htp
def test_the_remedy_heals(tmp_path):
    path = net(tmp_path, FUNCTIONS["Sigmoid"], BETWEEN["Reshape"], inner=(-40.0, 50.0))
    assert steps_off(path) < 2.5 and not qdq.htp_faults(path)
