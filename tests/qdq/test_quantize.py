"""The QDQ graph: true 8 bits everywhere, our ranges in, and the QParams read back."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from small_models import classifier, conv_model

from helpers import affine, calibrate, graph, qdq, session


def test_every_activation_is_8_bits_and_every_weight_is_stored_as_int8_per_channel(cut, int8):
    params, net = qdq.list_qparams(int8), graph.read_model(cut).graph
    weights = {n.input[1] for n in net.node if n.op_type == "Conv"}
    biases = {n.input[2] for n in net.node if n.op_type == "Conv"}
    activations = {o for n in net.node for o in n.output} | {i.name for i in net.input}
    assert {params[w].dtype for w in weights} == {"int8"} and {params[w].axis for w in weights} == {0}
    assert all(np.all(params[w].zero_point == 0) for w in weights)
    assert {params[t].dtype for t in activations & params.keys()} == {"uint8"}
    assert params.keys() - weights - biases <= activations
    stored = {t.name: t.data_type for t in onnx.load(int8).graph.initializer}
    assert all(stored[w + "_quantized"] == TensorProto.INT8 for w in weights)
    assert int8.stat().st_size < cut.stat().st_size / 2.5


def test_our_ranges_are_what_the_graph_holds(int8, ranges):
    params = qdq.list_qparams(int8)
    tensor = "images"
    expected = affine.choose_qparams(*ranges[tensor])
    assert params[tensor].zero_point == expected.zero_point
    assert params[tensor].scale == pytest.approx(expected.scale, rel=1e-6)


def test_a16_gives_the_named_tensor_16_bits_and_no_other(cut, ranges, tmp_path):
    tensor = next(n.output[0] for n in graph.read_model(cut).graph.node if n.op_type == "Concat")
    params = qdq.list_qparams(qdq.quantize_model(cut, tmp_path / "a16.onnx", ranges, a16=[tensor]))
    assert params[tensor].dtype == "uint16"
    assert sum(p.dtype == "uint16" for p in params.values()) <= 6  # with the converted copies of its neighbours


def test_per_tensor_weights_have_one_scale(cut, ranges, tmp_path):
    params = qdq.list_qparams(qdq.quantize_model(cut, tmp_path / "pt.onnx", ranges, per_channel=False))
    assert all(p.axis is None for p in params.values())


def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, int8, cut, ranges):
    (tmp_path / "text.onnx").write_text("no model")
    tensor = next(iter(ranges))
    cases = [
        (lambda out: qdq.split_head(tmp_path / "nowhere.onnx", out), "nowhere.onnx: no such file"),
        (lambda out: qdq.split_head(tmp_path / "text.onnx", out), "text.onnx: not an ONNX model"),
        (lambda out: qdq.split_head(conv_model(tmp_path / "relu.onnx", op="Relu"), out), "relu.onnx: no YOLOv8"),
        (lambda out: qdq.split_head(conv_model(tmp_path / "dyn.onnx", (1, 3, "h", 8)), out), "'x' has a dynamic"),
        (lambda out: qdq.quantize_model(int8, out, ranges), "int8.onnx: already quantized"),
        (lambda out: qdq.quantize_model(cut, out, ranges, activation="float8"), "dtype 'float8' is unknown"),
        (lambda out: qdq.quantize_model(cut, out, ranges, weight="uint4"), "asymmetric, which the HTP runs wrong"),
        (lambda out: qdq.quantize_model(cut, out, ranges, weight="int4", per_channel=False), "leave per_channel on"),
        (lambda out: qdq.quantize_model(cut, out, {**ranges, "ghost": (0, 1)}), "has no tensor 'ghost'"),
        (lambda out: qdq.quantize_model(cut, out, {**ranges, tensor: (0, np.nan)}), "range of tensor"),
        (lambda out: qdq.quantize_model(cut, out, {**ranges, tensor: (1, 0)}), "rmin ≤ rmax"),
        (lambda out: qdq.quantize_model(cut, out, {}), "no range for tensor"),
    ]
    for k, (call, message) in enumerate(cases):
        folder = tmp_path / f"case{k}"
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            call(folder / "out.onnx")
        assert "\n" not in str(caught.value)
        assert not folder.exists() or not list(folder.iterdir())


def test_what_is_made_of_stored_tensors_needs_no_range(tmp_path):
    net = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]> g (float[1,2] x) => (float[1,2] y)
        <float[2] w = {1, 2}> { c = Constant<value_float = 3.0>()  d = Mul(w, c)  e = Neg(d)  y = Add(x, e) }""")
    feed = {"x": np.float32([[1, 2]])}
    made = qdq.quantize_model(net, tmp_path / "q.onnx", calibrate.ranges(calibrate.observe(net, [feed]), "minmax"))
    assert qdq.list_qparams(made).keys() == {"x", "e", "y"}
    np.testing.assert_allclose(session.load(made).run(None, feed)[0], [[-2, -4]], atol=0.05)


def test_four_bits_are_for_convolutions_and_halve_the_file(tmp_path, cut, ranges, int8):
    four = qdq.quantize_model(cut, tmp_path / "int4.onnx", ranges, weight="int4")
    weights = {n.input[1] for n in graph.read_model(cut).graph.node if n.op_type == "Conv"}
    params = qdq.list_qparams(four)
    assert {(params[w].dtype, params[w].axis) for w in weights} == {("int4", 0)}
    assert all(np.all(params[w].zero_point == 0) for w in weights)
    assert four.stat().st_size < 0.7 * int8.stat().st_size
    fp32, _ = classifier(tmp_path)
    feeds = [dict(np.load(p)) for p in sorted((tmp_path / "inputs").glob("*.npz"))]
    made = qdq.quantize_model(
        fp32, tmp_path / "c.onnx", calibrate.ranges(calibrate.observe(fp32, feeds)), weight="int4"
    )
    params = qdq.list_qparams(made)
    assert (params["w"].dtype, params["v"].dtype) == ("int4", "int8")
