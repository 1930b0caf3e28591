"""Integers against the HTP: every code of every operator, alone and in chains."""

import numpy as np
import onnx.parser
import pytest
import threadpoolctl
from conftest import needs_htp
from nets import NETS, Net, assert_refused, off_zero, on
from onnx import TensorProto, helper, numpy_helper

from helpers import integer, qdq, session
from helpers.integer.simulator import one_thread


@needs_htp
@pytest.mark.parametrize("name", NETS)
def test_every_operator_alone_gives_the_codes_of_the_htp(name, tmp_path):
    same = []
    for seed in range(3):
        net = Net(np.random.default_rng([seed, *name.encode()]), 1, 8, 13, 11)
        output = NETS[name](net)
        model, feed = net.quantize(tmp_path, output, per_channel=seed < 2), net.feed()
        ours, theirs = integer.run(model, feed)[output], on("htp", model, feed, tmp_path)[0]
        steps = np.abs(ours.astype(int) - theirs)
        assert steps.max() <= 1 and len(np.unique(theirs)) > 20
        same.append((steps == 0).mean())
    assert np.mean(same) == 1


@needs_htp
@pytest.mark.parametrize("name", [name for name in NETS if "conv" in name])
def test_weights_of_four_bits_give_the_codes_of_the_htp(name, tmp_path):
    net = Net(np.random.default_rng([4, *name.encode()]), 1, 8, 13, 11)
    output = NETS[name](net)
    model, feed = net.quantize(tmp_path, output, weight="int4"), net.feed()
    assert "int4" in {qp.dtype for qp in qdq.list_qparams(tmp_path / "int8.onnx").values()}
    theirs = on("htp", model, feed, tmp_path)[0]
    assert len(np.unique(theirs)) > 20
    np.testing.assert_array_equal(integer.run(model, feed)[output], theirs)


def chain(n, depth):
    """A random block of a detector: convolutions, SiLU, a shortcut, a Concat of different scales."""
    x = n.silu(n.conv(n.x, 8, 16, 3, pads=[1] * 4, strides=[n.rng.choice([1, 2])] * 2))
    for _ in range(depth):
        a, b = n.op("Split", x, n.constant(np.int64([8, 8])), outputs=2, axis=1)
        y = n.silu(n.conv(b, 8, 8, 3, pads=[1] * 4))
        y = n.op("Add", b, y, width=n.rng.uniform(4, 9))
        p = n.op("MaxPool", a, kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1])
        x = n.op("Concat", a, p, y, width=n.rng.uniform(4, 9), axis=1)
        x = n.silu(n.conv(x, 24, 16))
    return n.conv(x, 16, 12)


EDGES = {
    "conv": lambda n: n.conv(n.x, 8, 8, 3, pads=[1] * 4),
}


@needs_htp
@pytest.mark.parametrize("low, width", [(0, 1), (0, 0.93), (0.3, 5.0), (0.5, 0.07)])
@pytest.mark.parametrize("name", EDGES)
def test_float_inputs_off_the_grid_give_the_codes_of_the_htp(name, low, width, tmp_path):
    net = Net(np.random.default_rng(1), 1, 8, 13, 11)
    net.ranges["x0"] = (-low * width, (1 - low) * width)
    output = EDGES[name](net)
    _, params = net.quantize(tmp_path, output), qdq.list_qparams(tmp_path / "int8.onnx")
    x = net.rng.uniform(-1.1 * low * width, (1.1 - low) * width, (1, 8, 13, 11)).astype(np.float32)
    middles = (net.rng.integers(0, 256, x.shape) - params["x0"].zero_point + 0.5) * params["x0"].scale
    x[:, ::2] = middles[:, ::2] * net.rng.uniform(0.999, 1.001, x.shape)[:, ::2]  # where roundings differ most
    feed = {v.name: x for v in net.inputs}
    codes = [
        np.rint(session.load(tmp_path / "int8.onnx", target).run(None, feed)[0] / params[output].scale)
        for target in ("integer", "htp")
    ]
    assert len(np.unique(codes[1])) > 20
    np.testing.assert_array_equal(*codes)


def resized(n, **how):
    asked = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} | how
    return n.op("Resize", n.conv(n.x, 8, 8), "", n.constant(np.float32([1, 1, 2, 2])), **asked)


REFUSED = {
    "Mul node 'n0': S_a·S_b/S_y = .* is so large": lambda n: n.op("Mul", n.x, n.input(1, 8, 13, 11), width=0.01),
    "Resize node 'n1': Resize is done here as nearest": lambda n: resized(
        n, coordinate_transformation_mode="half_pixel"
    ),
    "Concat node 'n2': an input that": lambda n: n.op(
        "Concat", n.op("Split", n.x, outputs=2, axis=1)[0], n.op("Sigmoid", n.x, width=1), width=50, axis=1
    ),
    "Reshape node 'n1': it stands between": lambda n: n.op(
        "Concat",
        n.op("Reshape", n.op("Concat", off_zero(n, n.x), n.x, width=9, axis=1), n.constant(np.int64([1, 16, 13, 11]))),
        n.x,
        width=50,
        axis=1,
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_proved_is_refused_by_name(message, tmp_path):
    assert_refused(REFUSED[message], message, tmp_path)


def test_real_numbers_straight_into_a_concat_of_another_scale_are_refused(tmp_path):
    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    model = integer.Simulator(net.quantize(tmp_path, NETS["concat"](net)))
    feed = {name: codes.astype(np.float32) for name, codes in net.feed().items()}
    with pytest.raises(ValueError, match="input 'x0' goes into a Concat of another scale") as caught:
        model.run(feed)
    assert "\n" not in str(caught.value)


def test_an_input_at_16_times_the_scale_of_its_concat_is_refused():
    text = """<ir_version: 8, opset_import: ["": 17]> g (uint8[1,1,4,4] x) => (uint8[1,2,4,4] y)
        <float s = {{{scale}}}, float t = {{1.0}}, uint8 z = {{3}}> {{ a = DequantizeLinear(x, s, z)
          c = Concat<axis = 1>(a, a)  y = QuantizeLinear(c, t, z) }}"""
    integer.Simulator(onnx.parser.parse_model(text.format(scale="15.9")))
    with pytest.raises(ValueError, match="input 'x' goes into Concat 'c' at 16 times its scale"):
        integer.Simulator(onnx.parser.parse_model(text.format(scale="16.0")))


def windowed(kind, *stored, **attributes):
    """A graph of one operator on one-dimensional pictures, quantized by hand."""
    tensors = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(9), "z")]
    tensors += [numpy_helper.from_array(np.ones((4, 4, 3), np.int8), "w"), numpy_helper.from_array(np.int8(0), "wz")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wd"]),
        helper.make_node(kind, ["d", *stored], ["y"], name="n", **attributes),
        helper.make_node("QuantizeLinear", ["y", "s", "z"], ["yq"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 20])
    y = helper.make_tensor_value_info("yq", TensorProto.UINT8, None)
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_one_dimension_old_opsets_and_second_scales_are_refused():
    two, old, half = windowed("Sigmoid"), windowed("Sigmoid"), windowed("Sigmoid")
    two.graph.initializer.append(numpy_helper.from_array(np.float32(0.2), "s2"))
    two.graph.node[1].input[1] = "s2"
    old.opset_import[0].version = 12
    half.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    cases = [
        (two, "tensor 'x' has two scales in its Q and DQ nodes"),
        (old, "the graph has opset 12"),
        (half, "input 'x' is float16"),
    ]
    for model, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            integer.Simulator(model)
        assert "\n" not in str(caught.value)


@needs_htp
@pytest.mark.parametrize("seed", range(6))
def test_random_chains_give_the_codes_of_the_htp(seed, tmp_path):
    net = Net(np.random.default_rng(seed), 1, 8, 19, 23)
    output = chain(net, 1 + seed % 3)
    model, feed = net.quantize(tmp_path, output), net.feed()
    theirs = on("htp", model, feed, tmp_path)[0]
    assert len(np.unique(theirs)) > 20
    np.testing.assert_array_equal(integer.run(model, feed)[output], theirs)


def test_blas_runs_on_one_thread_inside_and_as_before_behind():
    def threads():
        return [info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        assert 2 in before
        with one_thread():
            assert set(threads()) <= {1}
        assert threads() == before
