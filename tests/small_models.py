"""Models small enough to check by hand."""

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

from helpers import session


def random(seed: int = 0):
    """A generator of its own for every test, so that their order does not matter."""
    return np.random.default_rng(seed)


def convs(tmp_path, between: str, channels: int = 4):
    """conv → `between` → conv, with channels of very different size."""
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[1,3,8,8] x) => (float[1,2,8,8] y) {{
      a = Conv<pads=[1,1,1,1]>(x, w1, b1)
      {between}
      y = Conv(h, w2, b2)
    }}"""
    model = onnx.parser.parse_model(text)
    size, rng = np.float32([0.01, 0.1, 1, 10])[:channels, None, None, None], random(1)
    for name, value in {
        "w1": rng.normal(size=(channels, 3, 3, 3)) * size,
        "b1": rng.normal(size=channels) * size.ravel(),
        "w2": rng.normal(size=(2, channels, 1, 1)),
        "b2": np.zeros(2),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, path := tmp_path / "float.onnx")
    return path


FEEDS = [{"x": random(k).normal(size=(1, 3, 8, 8)).astype(np.float32)} for k in range(8)]


def run(path, feed=FEEDS[0]):
    return session.load(path).run(None, feed)[0]


def conv_model(path, shape=(1, 3, 8, 8), op="Conv"):
    """One operator on an input of that shape, written to `path`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")
    node = helper.make_node(op, ["x", "w"] if op == "Conv" else ["x"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [w] if op == "Conv" else [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def classifier(folder, count: int = 6):
    """A ReLU classifier of three classes and `count` inputs of it as .npz, and one as .npy, in `folder`/inputs."""
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1,3,8,8] x) => (float[1,3] y) {
      c = Conv<pads=[1,1,1,1]>(x, w, b)
      r = Relu(c)
      p = GlobalAveragePool(r)
      f = Flatten(p)
      y = Gemm(f, v, d)
    }"""
    model, rng = onnx.parser.parse_model(text), random(3)
    for node in model.graph.node:
        node.name = f"node {node.output[0]}"
    for name, shape in {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 3), "d": (3,)}.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    onnx.save(model, folder / "classifier.onnx")
    (folder / "inputs").mkdir()
    for k in range(count):
        x = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
        np.savez(folder / "inputs" / f"{k}.npz", x=x) if k else np.save(folder / "inputs" / "0.npy", x)
    return folder / "classifier.onnx", folder / "inputs"


def detector(path, size: int = 32, classes: int = 3):
    """A cut YOLOv8 in small, written to `path`: three strides, DFL and class logits of each, SiLU in between."""
    rng, weights, body, outputs, x = random(1), {}, "", "", "images"
    for k, (stride, taken) in enumerate(((4, 3), (2, 8), (2, 8))):
        side = size // 4 >> k
        weights |= {f"w{k}": (8, taken, 3, 3), f"box{k}": (64, 8, 1, 1), f"score{k}": (classes, 8, 1, 1)}
        body += f"c{k} = Conv<pads=[1,1,1,1], strides=[{stride},{stride}]>({x}, w{k}, w{k}_b)\n"
        body += f"s{k} = Sigmoid(c{k}) m{k} = Mul(c{k}, s{k})\n"
        body += f"b{k} = Conv(m{k}, box{k}, box{k}_b) l{k} = Conv(m{k}, score{k}, score{k}_b)\n"
        outputs += f"{', ' if k else ''}float[1,64,{side},{side}] b{k}, float[1,{classes},{side},{side}] l{k}"
        x = f"m{k}"
    text = f'<ir_version: 8, opset_import: ["": 17]> g (float[1,3,{size},{size}] images) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for k, node in enumerate(model.graph.node):
        node.name = f"node{k}"
    for name, shape in weights.items():
        value = rng.normal(size=shape) * 2 / np.sqrt(np.prod(shape[1:]))
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        model.graph.initializer.append(numpy_helper.from_array(np.full(shape[0], -0.5, np.float32), name + "_b"))
    onnx.save(model, path)
    return path


def net(text, opset=17, inputs="float[1,4,8,8] x", **stored):
    """A model of one output y: `text` between the braces, with what it stores."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]> g ({inputs}) => (float[a,b,c,d] y)'
    made = onnx.parser.parse_model(f"{header} {{ {text} }}")
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items())
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


def weights(*shape, seed=1):
    return random(seed).normal(size=shape).astype(np.float32)


def written(path, text: str, weights: dict[str, tuple[int, ...]] | None = None):
    """A graph in ONNX's text form, with random weights of these shapes, written to `path`."""
    model, rng = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}'), random(4)
    for k, node in enumerate(model.graph.node):
        node.name = f"node {k}"
    for name, shape in (weights or {}).items():
        value = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, path)
    return path


def segmenter(path, classes: int = 4):
    """A segmentation of 16×24 pixels into `classes`, written to `path`."""
    text = f"""g (float[1,3,16,24] x) => (float[1,{classes},16,24] y) {{
      c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) y = Conv<pads=[1,1,1,1]>(r, v) }}"""
    return written(path, text, {"w": (8, 3, 3, 3), "v": (classes, 8, 3, 3)})
