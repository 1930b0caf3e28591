"""What `prepare` changes, what it leaves, what it undoes, and that a prepared model runs whole on the HTP."""

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from small_models import net, weights

from helpers import assets, calibrate, graph, qdq, session
from helpers.graph import Model
from helpers.qdq import preparation
from helpers.targets import QNN


def ops(model):
    return [n.op_type for n in model.nodes]


def outputs(model, feed):
    return session.load(model).run(None, feed)[0]


ERF = "d = Div(a, r)  e = Erf(d)  s = Add(e, one)  m = Mul(a, s)  y = Mul(m, half)"
NORM = """mean = ReduceMean<axes = [-1]>(t)  c = Sub(t, mean)  q = Pow(c, two)  v = ReduceMean<axes = [-1]>(q)
    e = Add(v, tiny)  d = Sqrt(e)  n = Div(c, d)  g = Mul(n, w)  y = Add(g, w)"""
BATCH_NORM = "a = Conv(x, k)  i = Identity(a)  b = BatchNormalization(i, w, w, w, w)  y = Relu(b)"
OLD_SWISH = "a = Add(x, three)  c = Clip<min = 0.0, max = 6.0>(a)  m = Mul(x, c)  y = Div(m, six)"
CONSTANT = "k = Constant<value = float[4,4,1,1] {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}>()  y = Conv(x, k)"
NUMBERS = {"one": 1, "half": 0.5, "two": 2, "tiny": 1e-5, "three": 3, "six": 6, "r": 2**0.5}
NUMBERS = {name: np.float32(value) for name, value in NUMBERS.items()}
CASES = {  # name: (the net, its operator set, the operators that are left)
    "Gelu": ("a = Conv(x, k)  " + ERF, 13, ["Conv", "Gelu"]),
    "LayerNormalization": ("t = Transpose<perm = [0,2,3,1]>(x) " + NORM, 11, ["Transpose", "LayerNormalization"]),
    "BatchNormalization": (BATCH_NORM, 11, ["Conv", "Relu"]),
    "HardSwish": (OLD_SWISH, 10, ["HardSwish"]),
    "HardSigmoid": ("s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)  y = Mul(s, x)", 17, ["HardSwish"]),
    "another HardSigmoid": ("s = HardSigmoid<alpha = 0.2>(x)  y = Mul(s, x)", 17, ["HardSigmoid", "Mul"]),
    "Mish": ("p = Softplus(x)  h = Tanh(p)  y = Mul(x, h)", 18, ["Mish"]),
    "Constant": (CONSTANT, 13, ["Conv"]),
    "If": ("y = If(yes)<then_branch = t () => (float[1,4,8,8] u) { u = Relu(x) }, else_branch = e () => "
           "(float[1,4,8,8] v) { v = Neg(x) }>", 17, ["Relu"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_chains_become_one_operator_and_the_outputs_stay(name):
    text, opset, left = CASES[name]
    stored = NUMBERS | {"k": weights(4, 4, 1, 1), "w": np.abs(weights(4)), "yes": np.bool_(True)}
    model = Model(net(text, opset, **{key: value for key, value in stored.items() if key in text}))
    made = qdq.prepare(model)
    assert ops(made.model) == left
    feed = {"x": weights(1, 4, 8, 8, seed=2)}
    expected = outputs(model, feed)
    assert np.abs(outputs(made.model, feed) - expected).max() <= 1e-4 * np.abs(expected).max()
    assert bool(made.changes) is (name != "another HardSigmoid")


def test_a_model_that_needs_nothing_comes_back_as_it_is(cut):
    for path in (cut, assets.model()):
        made = qdq.prepare(path)
        assert made.changes == [] and made.model.proto == graph.read_model(path)


@pytest.mark.parametrize("way", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [7, 8])
def test_auto_pad_becomes_pads(way, size):
    text = f"""c = Conv<auto_pad = "{way}", strides = [2, 3]>(x, k)
        y = MaxPool<auto_pad = "{way}", kernel_shape = [2, 2]>(c)"""
    model = net(text, inputs=f"float[1,4,{size},9] x", k=weights(4, 4, 3, 3))
    made = qdq.prepare(model)
    assert made.changes == ["2 auto_pad resolved to pads"]
    assert not [a for n in made.model.nodes for a in n.attribute if a.name == "auto_pad"]
    feed = {"x": weights(1, 4, size, 9, seed=2)}
    np.testing.assert_allclose(outputs(made.model, feed), outputs(Model(model), feed), rtol=1e-5)


def dynamic(path=None, inputs="float[N,3,H,W] images", size=None):
    model = net("y = Relu(images)", inputs=inputs)
    if size:
        onnx.helper.set_model_props(model, {"imgsz": size})
    return model


def shape(made):
    return made.model.input_types["images"][1]


def test_dynamic_inputs_get_the_obvious_size_or_the_one_that_is_given(tmp_path):
    made = qdq.prepare(dynamic(size="[64, 96]"))
    assert shape(made) == (1, 3, 64, 96) == made.model.shapes["y"]
    assert made.changes == ["input 'images' is N×3×H×W: fixed at 1×3×64×96 (batch 1, the size in its own metadata)"]
    assert shape(qdq.prepare(dynamic(inputs="float[N,3,16,16] images"))) == (1, 3, 16, 16)
    assert shape(qdq.prepare(dynamic(), {"images": (2, 3, 5, 7)})) == (2, 3, 5, 7)
    onnx.save(dynamic(), tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"net.onnx: input 'images' is N×3×H×W and .*`--shape images=1x3x224x224`"):
        qdq.prepare(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="has no input 'x' to give a shape; its inputs are images"):
        qdq.prepare(dynamic(), {"x": (1,)})
    with pytest.raises(ValueError, match="input 'images' is N×3×H×W, which 1×4×8×8 does not fit"):
        qdq.prepare(dynamic(), {"images": (1, 4, 8, 8)})
    for text in ("1x3", "images=", "images=1x0", "images=ax3"):
        with pytest.raises(ValueError, match="write it like images=1x3x640x640"):
            qdq.parse_shape(text)


def test_a_step_that_moves_an_output_is_undone_and_said(monkeypatch):
    def wrong(model):
        other = model.copy()
        other.proto.graph.node[0].op_type = "Neg"
        return other, "Relu became Neg"

    monkeypatch.setattr(preparation, "STEPS", [wrong])
    model = net("y = Relu(x)")
    made = qdq.prepare(model)
    assert made.model.proto == model
    assert made.changes == ["undone, for outputs moved by 2.0e+00 of their largest value: Relu became Neg"]


def test_what_cannot_be_prepared_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="already quantized"):
        qdq.prepare(net("q = QuantizeLinear(x, s)  y = DequantizeLinear(q, s)", s=np.float32(0.1)))
    with pytest.raises(ValueError, match=r"ONNX Runtime cannot run it: .*Dilation not supported"):
        qdq.prepare(net('y = Conv<auto_pad = "SAME_UPPER", dilations = [2, 2]>(x, k)', k=weights(4, 4, 3, 3)))
    with pytest.raises(FileNotFoundError, match=r"none.onnx: no such file"):
        qdq.prepare(tmp_path / "none.onnx")


def whole(model, folder):
    """Prepared, quantized with the range of one input and compiled: how many nodes, all of them on the HTP."""
    made = qdq.prepare(model).model
    ranges = calibrate.ranges(calibrate.observe(made, [preparation.random_feed(made)]), "minmax")
    placed = session.placement(session.load(qdq.quantize_model(made, folder / "q.onnx", ranges), "htp"))
    assert set(placed.values()) == {QNN}
    return len(placed)


AT_THE_INPUT = ["y = Relu(x)", "y = Clip(x, half, one)", "y = Transpose(x)", "a = Slice(x, zeros, ends)  y = Relu(a)",
                "y = Reshape(x, shape)", "y = MaxPool<kernel_shape = [2, 2]>(x)",
                "a = Slice(x, zeros, ends)  b = Conv(x, k)  c = Slice(b, zeros, ends)  y = Add(a, c)"]  # fmt: skip


@needs_htp
@pytest.mark.parametrize("text", AT_THE_INPUT)
def test_an_operator_at_the_input_is_quantized(text, tmp_path):
    stored = {"k": weights(4, 4, 1, 1), "half": np.float32(0.2), "one": np.float32(0.9), "zeros": np.int64([0] * 4)}
    stored |= {"ends": np.int64([1, 4, 4, 4]), "shape": np.int64([1, 4, 64])}
    made = net(text, **{name: value for name, value in stored.items() if name in text})
    assert whole(made, tmp_path) >= 5
    assert "x" in qdq.list_qparams(tmp_path / "q.onnx")


@needs_htp
def test_an_operator_behind_a_cast_is_quantized(tmp_path):
    assert whole(net("a = Cast<to = 1>(x)  b = Transpose(a)  y = Relu(b)", inputs="int64[1,4,8,8] x"), tmp_path)
    assert {"a", "y"} <= qdq.list_qparams(tmp_path / "q.onnx").keys()


@needs_htp
@pytest.mark.parametrize("operator", ["LayerNormalization", "BatchNormalization"])
def test_a_normalization_that_stays_runs_on_the_htp(operator, tmp_path):
    text = {
        "LayerNormalization": "a = Transpose<perm = [0,2,3,1]>(x)  y = LayerNormalization(a, w, w)",
        "BatchNormalization": "a = Relu(x)  y = BatchNormalization(a, w, w, w, w)",
    }
    assert whole(net(text[operator], w=np.abs(weights(4))), tmp_path)
    assert qdq.list_qparams(tmp_path / "q.onnx")["w"].dtype == "uint8"
