"""Float networks with random weights and ranges, one for each operator, and their graphs without Q at the ends."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers import integer, qdq, session


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


def assert_refused(make, message, folder):
    """`integer` refuses the net, in one sentence that matches and names a way out."""
    import pytest  # benchmarks, which are run without it, take their nets from here

    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    output = make(net)
    model = net.quantize(folder, output)
    if "another scale" in message:
        qdq.set_range(model, output, -50, 50)
    with pytest.raises(ValueError, match=message) as caught:
        integer.Simulator(model)
    assert "\n" not in str(caught.value) and "use target 'cpu'" in str(caught.value)


def pool(n, **attributes):
    return n.op("MaxPool", n.conv(n.x, 8, 8), **attributes)


def two(n, kind):
    return n.op(kind, n.x, n.input(1, 8, 13, 11), width=n.rng.uniform(6, 16))


def resize(n):
    scales = n.constant(np.float32([1, 1, 2, 2]))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return n.conv(n.op("Resize", n.conv(n.x, 8, 8), "", scales, **how), 8, 8)


def split(n):
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


NETS = {
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
    "split": split,
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
