"""Integers against the HTP: every code of every operator, alone and in chains, with integer inputs and outputs."""

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from onnx import TensorProto, helper, numpy_helper

from helpers import affine, assets, integer, qdq, session, vision
from helpers.integer import htp_rounding, kernels


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with codes at its inputs and outputs: without the first Q and the last DQ."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    for value in graph.input:
        node = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == value.name)
        graph.node.remove(node)
        _rename(graph, node.output[0], value.name)
        value.type.tensor_type.elem_type = TensorProto.UINT8
    for value in graph.output:
        node = next(n for n in graph.node if n.output[0] == value.name)
        graph.node.remove(node)
        _rename(graph, node.input[0], value.name)
        value.type.tensor_type.elem_type = TensorProto.UINT8
    return model


def _rename(graph, old, new):
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


class Net:
    """A float network with random weights, and a random range for each of its tensors."""

    def __init__(self, rng, *shape):
        self.rng, self.nodes, self.stored, self.ranges, self.inputs = rng, [], [], {}, []
        self.x = self.input(*shape)

    def _range(self, tensor, width):
        low = self.rng.choice([0, 1, self.rng.uniform(0.1, 0.9)], p=[0.15, 0.05, 0.8])
        self.ranges[tensor] = (-low * width, (1 - low) * width)

    def input(self, *shape):
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self._range(name, self.rng.uniform(2, 9))
        return name

    def constant(self, array):
        self.stored.append(numpy_helper.from_array(np.asarray(array), f"c{len(self.stored)}"))
        return self.stored[-1].name

    def op(self, kind, *inputs, width=None, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        for name in names:
            if width:
                self._range(name, width)
            else:
                self.ranges[name] = self.ranges[inputs[0]]
        return names if outputs > 1 else names[0]

    def conv(self, x, depth, channels, kernel=1, group=1, bias=True, **attributes):
        weight = self.rng.normal(size=(channels, depth // group, kernel, kernel)) * self.rng.uniform(
            0.2, 2, (channels, 1, 1, 1)
        )
        names = [self.constant(weight.astype(np.float32))]
        if bias:
            names.append(self.constant(self.rng.normal(size=channels).astype(np.float32)))
        width = 6 * np.sqrt(depth / group) * kernel
        return self.op("Conv", x, *names, width=width, kernel_shape=[kernel] * 2, group=group, **attributes)

    def silu(self, x):
        sigmoid = self.op("Sigmoid", x)
        self.ranges[sigmoid] = (0, 1)
        y = self.op("Mul", x, sigmoid)
        self.ranges[y] = (-0.3, max(self.ranges[x][1], 1.0))
        return y

    def quantize(self, folder, *outputs, **options):
        values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, values, self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")
        return onnx.load(qdq.quantize_model(folder / "float.onnx", folder / "int8.onnx", self.ranges, **options))

    def feed(self):
        shape = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in self.inputs}
        return {name: self.rng.integers(0, 256, s).astype(np.uint8) for name, s in shape.items()}


def on(target, model, feed, folder):
    onnx.save(strip(model), folder / "codes.onnx")
    return session.load(folder / "codes.onnx", target).run(None, feed)


def pool(n, **attributes):
    return n.op("MaxPool", n.conv(n.x, 8, 8), **attributes)


def two(n, kind):
    return n.op(kind, n.x, n.input(1, 8, 13, 11), width=n.rng.uniform(6, 16))


def resize(n):
    scales = n.constant(np.float32([1, 1, 2, 2]))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return n.conv(n.op("Resize", n.conv(n.x, 8, 8), "", scales, **how), 8, 8)


def cut(n):
    a, b = n.op("Split", n.conv(n.x, 8, 8), n.constant(np.int64([3, 5])), outputs=2, axis=1)
    return n.op("Concat", b, a, axis=1)


def slices(n):
    parts = [n.constant(np.int64(v)) for v in ([1, 2], [9, -1], [2, 3], [2, 1])]
    return n.op("Slice", n.conv(n.x, 8, 8), *parts)


def off_zero(n, tensor):
    """The same tensor, with a zero point that is not 0: at Z = 0 no kernel writes at another scale."""
    low, high = n.ranges[tensor]
    n.ranges[tensor] = ((low - high) / 3, (high - low) * 2 / 3)
    return tensor


def nest(n):
    inner = n.op("Concat", n.silu(n.conv(n.x, 8, 8)), off_zero(n, n.conv(n.x, 8, 8)), width=9, axis=1)
    return n.op("Concat", off_zero(n, inner), n.silu(n.conv(n.x, 8, 8)), width=7, axis=1)


def reshaped(n):
    x = n.op("Reshape", off_zero(n, n.conv(n.x, 8, 8)), n.constant(np.int64([1, 8, 11, 13])))
    y = n.op("Reshape", off_zero(n, n.conv(n.x, 8, 8)), n.constant(np.int64([1, 8, 11, 13])))
    return n.op("Concat", x, y, width=9, axis=1)


OPS = {
    "conv 1×1": lambda n: n.conv(n.x, 8, 16),
    "conv 3×3": lambda n: n.conv(n.x, 8, 24, 3, pads=[1] * 4),
    "conv 3×3, stride 2": lambda n: n.conv(n.x, 8, 16, 3, pads=[1] * 4, strides=[2, 2]),
    "conv 5×5, uneven pads": lambda n: n.conv(n.x, 8, 16, 5, pads=[2, 1, 0, 2]),
    "conv, dilated": lambda n: n.conv(n.x, 8, 16, 3, pads=[2] * 4, dilations=[2, 2]),
    "conv, groups": lambda n: n.conv(n.x, 8, 16, 3, group=4),
    "conv, depthwise": lambda n: n.conv(n.x, 8, 8, 3, group=8, pads=[1] * 4),
    "conv, no bias": lambda n: n.conv(n.x, 8, 16, bias=False),
    "silu": lambda n: n.silu(n.x),
    "sigmoid": lambda n: n.op("Sigmoid", n.x, width=1),
    "add": lambda n: two(n, "Add"),
    "mul": lambda n: two(n, "Mul"),
    "concat": lambda n: n.op("Concat", n.x, n.input(1, 8, 13, 11), n.input(1, 3, 13, 11), width=8, axis=1),
    "maxpool": lambda n: pool(n, kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]),
    "maxpool, stride 2": lambda n: pool(n, kernel_shape=[2, 2], strides=[2, 2]),
    "resize": resize,
    "split": cut,
    "slice": slices,
    "reshape": lambda n: n.op("Reshape", n.conv(n.x, 8, 8), n.constant(np.int64([1, 2, 4, 143]))),
    "transpose": lambda n: n.op("Transpose", n.conv(n.x, 8, 8), perm=[0, 2, 3, 1]),
    "mul, one value per channel": lambda n: n.op("Mul", n.x, n.input(1, 8, 1, 1), width=n.rng.uniform(6, 16)),
    "concat in a concat": lambda n: nest(n),
    "concat of a reshape": lambda n: reshaped(n),
    "resize, uneven": lambda n: n.op(
        "Resize",
        n.conv(n.x, 8, 8),
        "",
        n.constant(np.float32([1, 1, 1.3, 2.7])),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
}


@needs_htp
@pytest.mark.parametrize("name", OPS)
def test_every_operator_alone_gives_the_codes_of_the_htp(name, tmp_path):
    same = []
    for seed in range(3):
        net = Net(np.random.default_rng([seed, *name.encode()]), 1, 8, 13, 11)
        output = OPS[name](net)
        model, feed = net.quantize(tmp_path, output, per_channel=seed < 2), net.feed()
        ours, theirs = integer.run(model, feed)[output], on("htp", model, feed, tmp_path)[0]
        steps = np.abs(ours.astype(int) - theirs)
        assert steps.max() <= 1 and len(np.unique(theirs)) > 20
        same.append((steps == 0).mean())
    assert np.mean(same) == 1


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
    "Conv node 'n0': a depthwise Conv 3×3 with strides 2, 2": lambda n: n.conv(n.x, 8, 8, 3, group=8, strides=[2, 2]),
    "Conv node 'n0': auto_pad SAME_UPPER": lambda n: n.conv(n.x, 8, 8, 3, auto_pad="SAME_UPPER"),
    "MaxPool node 'n1': auto_pad SAME_LOWER": lambda n: pool(n, kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    "MaxPool node 'n1': MaxPool with ceil_mode": lambda n: pool(n, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool node 'n1': its output has another scale": lambda n: pool(n, kernel_shape=[2, 2], width=50),
    "Add node 'n0': a constant of one element": lambda n: n.op("Add", n.x, n.constant(np.float32([2])), width=9),
    "Mul node 'n0': a constant of one element": lambda n: n.op("Mul", n.x, n.constant(np.float32(2)), width=9),
    "Mul node 'n0': S_a·S_b/S_y = .* is so large": lambda n: n.op("Mul", n.x, n.input(1, 8, 13, 11), width=0.01),
    "Resize node 'n1': Resize is done here as nearest": lambda n: resized(
        n, coordinate_transformation_mode="half_pixel"
    ),
    "Concat node 'n2': an input that": lambda n: n.op(
        "Concat", n.op("Split", n.x, outputs=2, axis=1)[0], n.op("Sigmoid", n.x, width=1), width=50, axis=1
    ),
    "Reshape node 'n1': it stands between": lambda n: n.op(
        "Concat",
        n.op("Reshape", n.op("Sigmoid", n.x, width=1), n.constant(np.int64([1, 8, 13, 11]))),
        n.x,
        width=50,
        axis=1,
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_proved_is_refused_by_name(message, tmp_path):
    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    output = REFUSED[message](net)
    model = net.quantize(tmp_path, output)
    if "another scale" in message:
        qdq.set_range(model, output, -50, 50)
    with pytest.raises(ValueError, match=message) as caught:
        integer.Simulator(model)
    assert "\n" not in str(caught.value) and "use target 'cpu'" in str(caught.value)


def test_real_numbers_straight_into_a_concat_of_another_scale_are_refused(tmp_path):
    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    model = integer.Simulator(net.quantize(tmp_path, OPS["concat"](net)))
    feed = {name: codes.astype(np.float32) for name, codes in net.feed().items()}
    with pytest.raises(ValueError, match="input 'x0' goes into a Concat of another scale") as caught:
        model.run(feed)
    assert "\n" not in str(caught.value)


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
        (windowed("Conv", "wd"), "Conv node 'n': a window of 1 dimension"),
        (windowed("MaxPool", kernel_shape=[3]), "MaxPool node 'n': a window of 1 dimension"),
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


@pytest.fixture(scope="module")
def picture(int8):
    """One validation picture as codes, and the HTP's codes of all six outputs."""
    real = next(iter(vision.Feeds(assets.images("validation")[:1], int8)))
    return real, {"images": affine.quantize(real["images"], qdq.list_qparams(int8)["images"])}


@pytest.fixture(scope="module")
def theirs(int8, picture, tmp_path_factory):
    return on("htp", onnx.load(int8), picture[1], tmp_path_factory.mktemp("htp"))


@needs_htp
def test_the_whole_detector_gives_the_codes_of_the_htp_and_the_cpu_does_not(int8, picture, theirs, tmp_path):
    model = integer.Simulator(int8)
    ours = list(model.run(picture[1]).values())
    assert len(ours) == 6 and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(ours, model.run(picture[0]).values(), strict=True))
    cpu = on("cpu", onnx.load(int8), picture[1], tmp_path)
    assert max((a == b).mean() for a, b in zip(cpu, theirs, strict=True)) < 0.9


def rounded(acc, m, e, zero_point):
    """What one would expect: the whole accumulator, one rounding."""
    return np.clip(np.floor(acc * (m * 2.0 ** (e - 12)) + 0.5) + zero_point, 0, 255).astype(np.uint8)


def recode_once(source, target, first=False):
    return affine.quantize(affine.dequantize(np.arange(256), source), target)


exact = htp_rounding.fixed_point
WRONG = {
    "the whole accumulator": ("htp_requantize", rounded),
    "an 11-bit multiplier": (
        "fixed_point",
        lambda real, bits: (exact(real, bits - 1)[0] * 2, exact(real, bits - 1)[1]),
    ),
    "an exact bias": ("stored_bias", lambda bias, *_: bias.astype(np.int64)),
    "one rounding of a recoded tensor": ("rescale_lut", recode_once),
    "a Concat that recodes": ("DIRECT", set()),
    "SiLU of a rounded sigmoid": ("sigmoid", lambda x: np.rint(255 / (1 + np.exp(-x))) / 255),
}


@pytest.fixture(scope="module")
def truths(int8, picture, theirs, tmp_path_factory):
    """(model, feed, the HTP's codes) of the whole detector, and of a Concat whose inputs all change their scale."""
    folder = tmp_path_factory.mktemp("concat")
    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    model, feed = net.quantize(folder, OPS["concat"](net)), net.feed()
    return [(int8, picture[1], theirs), (model, feed, on("htp", model, feed, folder))]


def equal(truths):
    return all(
        np.array_equal(a, b)
        for model, feed, out in truths
        for a, b in zip(integer.run(model, feed).values(), out, strict=True)
    )


@needs_htp
@pytest.mark.parametrize("rule", WRONG)
def test_another_rule_would_be_caught(rule, truths, monkeypatch):
    assert equal(truths)
    name, wrong = WRONG[rule]
    for module in (htp_rounding, kernels, integer.simulator):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, wrong)
    assert not equal(truths)


def test_convolution_sums_are_those_of_64_bit_integers(tmp_path, monkeypatch):
    """Deeper than one float32 product may go, and with the largest codes: no bit is lost on any machine."""
    rng = np.random.default_rng(0)
    net = Net(rng, 1, 300, 6, 5)
    net.ranges["x0"] = (0, 1)
    y = net.conv(net.x, 300, 4, 3, pads=[1] * 4)
    model = net.quantize(tmp_path, y)
    seen, real = [], htp_rounding.htp_requantize
    monkeypatch.setattr(kernels, "htp_requantize", lambda acc, *rest: seen.append(acc.copy()) or real(acc, *rest))
    prepared = integer.Simulator(model)
    prepared.run({"x0": np.full((1, 300, 6, 5), 255, np.uint8)})
    weight, params = prepared._stored["c0"].astype(np.int64), prepared.qparams
    unit = np.float32(params["x0"].scale) * params["c0"].scale.max()
    bias = htp_rounding.stored_bias(prepared._stored["c1"], params["c1"].scale.max(), unit)
    assert params["x0"].zero_point == 0
    corner = (weight[:, :, 1:, 1:].sum((1, 2, 3)) * 255) + bias
    middle = (weight.sum((1, 2, 3)) * 255) + bias
    np.testing.assert_array_equal(seen[0][:, 0], corner)
    np.testing.assert_array_equal(seen[0][:, 7], middle)


def test_a_session_on_integers_serves_the_detector(int8, picture):
    ours = session.load(int8, "integer")
    cpu = session.load(int8)
    assert [(v.name, v.shape, v.type) for v in ours.get_inputs() + ours.get_outputs()] == [
        (v.name, v.shape, v.type) for v in cpu.get_inputs() + cpu.get_outputs()
    ]
    name = cpu.get_outputs()[1].name
    one, every = ours.run([name], picture[0]), ours.run(None, picture[0])
    assert one[0].dtype == np.float32 and np.array_equal(one[0], every[1]) and len(every) == 6
    found = vision.Detector(int8, "integer").detect(assets.images("validation")[0])
    assert (
        len(vision.match(vision.Detector(int8).detect(assets.images("validation")[0]), found)) >= len(found[0]) - 1 > 0
    )


def test_codes_at_the_edges_of_the_graph_are_taken_as_they_are(int8, picture, tmp_path):
    model = onnx.load(int8)
    ours, bare = integer.run(model, picture[1]), integer.run(strip(model), picture[1])
    assert all(np.array_equal(ours[name], bare[name]) for name in ours)
    every = integer.run(int8, picture[0], every=True)
    assert {"images", *ours} < set(every) and all(v.dtype == np.uint8 for v in every.values())


def test_bad_input_is_one_sentence(int8, cut, ranges, picture, tmp_path):
    x = picture[0]["images"]
    model = onnx.load(int8)
    next(n for n in model.graph.node if n.op_type == "MaxPool").op_type = "GlobalMaxPool"
    a16 = qdq.quantize_model(cut, tmp_path / "a16.onnx", ranges, a16=[next(iter(ranges))])
    cases = [
        (
            lambda: integer.Simulator(model),
            "GlobalMaxPool node '/model.9/m/MaxPool': no integer kernel; use target 'cpu'",
        ),
        (lambda: integer.Simulator(a16), "is uint16; quantize every activation to uint8"),
        (lambda: integer.Simulator(cut), "is float32; quantize every activation to uint8"),
        (lambda: integer.run(int8, {}), "input 'images' is not both in the graph and in the feed"),
        (lambda: integer.run(int8, {"images": x, "more": x}), "input 'more' is not both"),
        (lambda: integer.run(int8, {"images": x[..., :9]}), r"input 'images' has shape \(1, 3, 320, 9\)"),
        (lambda: integer.run(int8, {"images": np.full(x.shape, 256)}), "holds codes outside of 0 … 255"),
        (lambda: integer.run(tmp_path / "nowhere.onnx", {}), "nowhere.onnx: no such file"),
        (lambda: session.load(int8, "integer", vtcm_mb="4"), "target 'integer' takes no options"),
    ]
    for call, message in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
