"""graph.Model: each map against a graph small enough to read."""

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper

from helpers import affine, graph
from helpers.graph import Model

FLOAT = """<ir_version: 8, opset_import: ["": 17]> g (float[1,2,4] x, float[1,2,4] w) => (float[1,4,4] z) {
  k = Constant<value = float {0.5}>()
  a = Add(x, w)  b = Mul(a, k)  z = Concat<axis = 1>(a, b) }"""
QUANTIZED = """<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
  <float s = {0.5}, uint8 z = {3}, int8[2] w_quantized = {1, -2}, float[2] ws = {0.1, 0.2}, int8[2] wz = {0, 0}> {
  q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  v = DequantizeLinear<axis = 0>(w_quantized, ws, wz)
  y_QuantizeLinear_Input = Mul(d, v)  p = QuantizeLinear(y_QuantizeLinear_Input, s, z)  y = DequantizeLinear(p, s, z)
}"""


@pytest.fixture
def net():
    proto = onnx.parser.parse_model(FLOAT)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((1, 2, 4), np.float32), "w"))
    return Model(proto)


def test_every_map_of_a_float_graph(net):
    assert [n.op_type for n in net.nodes] == ["Constant", "Add", "Mul", "Concat"]
    assert list(net.inputs) == ["x"] and net.outputs == ["z"], "a stored tensor is no input"
    assert {t: n.op_type for t, n in net.producers.items()} == {"k": "Constant", "a": "Add", "b": "Mul", "z": "Concat"}
    assert {t: [n.op_type for n in found] for t, found in net.consumers.items()} == {
        "x": ["Add"], "w": ["Add"], "a": ["Mul", "Concat"], "k": ["Mul"], "b": ["Concat"]}  # fmt: skip
    assert set(net.constants) == {"w", "k"} and net.constants["k"] == np.float32(0.5)
    assert net.shapes["a"] == net.shapes["b"] == net.shapes["w"] == (1, 2, 4) and net.shapes["z"] == (1, 4, 4)
    assert "a" in {v.name for v in net.inferred.graph.value_info}
    assert not net.is_quantized and not net.float_names and not net.qparams


def test_a_node_that_reads_a_tensor_twice_is_one_consumer():
    net = Model(onnx.parser.parse_model(FLOAT.replace("Add(x, w)", "Add(x, x)")))
    assert [n.op_type for n in net.consumers["x"]] == ["Add"]


def test_every_map_of_a_quantized_graph():
    net = Model(onnx.parser.parse_model(QUANTIZED))
    assert net.is_quantized
    assert net.float_names == {"q": "x", "d": "x", "v": "w", "p": "y", "y": "y"}
    assert net.qparams["x"] == net.qparams["y"] == affine.QParams(np.float32(0.5), 3, "uint8")
    assert (net.qparams["w"].dtype, net.qparams["w"].axis) == ("int8", 0) and set(net.qparams) == {"x", "y", "w"}
    np.testing.assert_array_equal(net.qparams["w"].scale, np.float32([0.1, 0.2]))
    assert graph.list_qparams(net) == net.qparams
    with pytest.raises(ValueError, match="the model: already quantized"):
        graph.float_model(net)


def test_other_outputs_and_other_constants_leave_the_model_as_it_was(net):
    before = net.proto.SerializeToString()
    shown = net.with_outputs(["a", "z"])
    assert shown.outputs == ["a", "z"] and net.outputs == ["z"]
    stored = net.with_stored_constants()
    assert [n.op_type for n in stored.nodes] == ["Add", "Mul", "Concat"]
    assert {t.name for t in stored.proto.graph.initializer} == {"w", "k"} and stored.constants["k"] == np.float32(0.5)
    other = net.copy()
    other.proto.graph.node[0].op_type = "Neg"
    assert net.nodes[0].op_type == "Constant" and net.proto.SerializeToString() == before


def test_of_takes_a_path_a_proto_and_a_model(net, tmp_path):
    path = net.save(tmp_path / "made" / "net.onnx")
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    read = Model.of(path)
    assert read.path == path and str(read) == str(path) and read.proto == net.proto
    assert Model.of(read) is read and Model.of(net.proto).proto is net.proto and str(Model.of(net.proto)) == "the model"
    assert read.copy().path == path and graph.constants(str(path)).keys() == net.constants.keys()
    assert graph.float_model(path).outputs == ["z"]


def test_a_model_that_is_no_onnx_writes_nothing(net, tmp_path):
    net.proto.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(onnx.checker.ValidationError):
        net.save(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_name_before_the_quantizer_renamed_it():
    for name in ("a", "a_quantized", "a_QuantizeLinear_Input"):
        assert graph.float_name(name) == "a"
