"""Activation functions found in graphs, however they are written, and ranges that know them."""

import numpy as np
import onnx.parser
import pytest

from helpers import calibrate, repair
from helpers.graph import Model
from helpers.graph.activations import sigmoid, silu
from helpers.repair.functions import Function, function_blocks
from helpers.repair.ranges import FunctionError

CONSTANTS = "float three = {3.0}, float six = {6.0}, float zero = {0.0}, float half = {0.5}, float root = {1.4142135}"


def net(body, outputs="float[4] y", opset=20):
    text = f'<ir_version: 9, opset_import: ["": {opset}]> g (float[4] x) => ({outputs}) <{CONSTANTS}, float one = {{1.0}}>'
    return onnx.parser.parse_model(f"{text} {{ {body} }}")


HARD_SWISH = "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)"
GELU = "d = Div(x, root) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)"


@pytest.mark.parametrize(
    ("body", "ends", "true"),
    [
        ("s = Sigmoid(x) y = Mul(x, s)", "y", silu),
        ("y = HardSwish(x)", "y", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        (HARD_SWISH, "m", lambda x: x * np.clip(x + 3, 0, 6)),
        ("y = HardSigmoid(x)", "y", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("y = Sigmoid(x)", "y", sigmoid),
        ("y = LeakyRelu<alpha = 0.1>(x)", "y", lambda x: np.where(x > 0, x, 0.1 * x)),
        ("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", "y", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ],
)
def test_a_function_is_found_and_computed_however_it_is_written(body, ends, true):
    graph = Model(net(body))
    [block] = [b for b in function_blocks(graph) if b.x == "x"]
    x = np.linspace(-6, 6, 101)
    assert block.y == ends
    np.testing.assert_allclose(Function(graph, block)(x), true(x), atol=1e-5)


def test_gelu_as_erf_is_one_function_of_x():
    [block] = [b for b in function_blocks(net(GELU)) if b.x == "x"]
    assert (block.inner, block.y) == (("d", "e", "p"), "m")


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu(x)",
        "y = Clip(x, zero, six)",
        "y = Mul(x, half)",
        "s = Sigmoid(x) n = Neg(x) y = Concat<axis = 0>(s, n)",
        "y = Softmax(x)",
    ],
)
def test_what_bends_nothing_or_is_read_elsewhere_is_no_function(body):
    assert [b for b in function_blocks(net(body)) if b.x == "x"] == []


def test_what_is_shown_is_no_function_of_what_follows():
    graph = net("a = Neg(x) s = Sigmoid(a) y = Mul(a, s)", "float[4] y, float[4] a")
    assert [b for b in function_blocks(graph) if b.x == "a"] == []


@pytest.mark.parametrize("body", ["y = HardSwish(x)", "s = Sigmoid(x) y = Mul(x, s)", HARD_SWISH])
def test_the_flat_side_may_be_clipped(body):
    graph, h = net(body), calibrate.Histogram().update(np.random.default_rng(0).normal(-20, 10, 10_000))
    low, high = repair.functional_ranges(graph, {"x": h})["x"]
    assert -16 < low < -1 and calibrate.mse(h)[0] < -40
    assert high > 0.8 * h.max, "the other side may not"


def test_more_weight_on_clipping_clips_less():
    h = calibrate.Histogram().update(np.random.default_rng(0).normal(-3, 4, 20_000))
    error = FunctionError(h, silu)
    light, heavy = error.least(1.0), error.least(16.0)
    assert heavy[0] < light[0] and heavy[1] >= light[1]
    assert error.parts(0, 0)[1] == 0, "the whole range clips nothing"
