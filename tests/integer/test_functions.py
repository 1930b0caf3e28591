"""Functions of one code against the HTP: every code of every function, and where one is left to a range."""

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from nets import Net, on
from onnx.parser import parse_model
from ops_functions import NETS

from helpers import integer, session

STEPS = {"Sign": 2, "Floor": 4, "Ceil": 4, "Round": 4}  # few codes come out of these


@needs_htp
@pytest.mark.parametrize("name", NETS)
def test_every_function_gives_the_codes_of_the_htp(name, tmp_path):
    seen = set()
    for seed in range(3):
        net = Net(np.random.default_rng([seed, *name.encode()]), 1, 8, 13, 11)
        output = NETS[name](net)
        model, feed = net.quantize(tmp_path, output), net.feed()
        theirs = on("htp", model, feed, tmp_path)[0]
        np.testing.assert_array_equal(integer.run(model, feed)[output], theirs)
        seen |= set(theirs.ravel().tolist())
    assert len(seen) > STEPS.get(name, 20)


def graph(front, operator, middle, end):
    """QDQ text: two inputs into `front`, its scale `middle`, then `operator`, its scale `end`: (S, Z) each."""
    return parse_model(f"""<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (uint8[1,4,16,16] a, uint8[1,4,16,16] b) => (uint8[1,4,16,16] y)
        <float sa = {{0.02}}, uint8 za = {{90}}, float sb = {{0.013}}, uint8 zb = {{140}},
         float sm = {{{middle[0]}}}, uint8 zm = {{{middle[1]}}}, float sy = {{{end[0]}}}, uint8 zy = {{{end[1]}}},
         float minus = {{-1.0}}, float zero = {{0.0}}, float half = {{0.5}}, float one = {{1.0}},
         float six = {{6.0}}> {{
          ad = DequantizeLinear(a, sa, za)  bd = DequantizeLinear(b, sb, zb)  f = {front}
          fq = QuantizeLinear(f, sm, zm)  x = DequantizeLinear(fq, sm, zm)
          r = {operator}  y = QuantizeLinear(r, sy, zy) }}""")


def both(model, folder):
    """Codes of both, the HTP's first."""
    onnx.save(model, folder / "codes.onnx")
    rng = np.random.default_rng(0)
    feed = {name: rng.integers(0, 256, (1, 4, 16, 16)).astype(np.uint8) for name in "ab"}
    theirs = session.load(folder / "codes.onnx", "htp").run(None, feed)[0]
    return theirs, integer.run(model, feed)["y"]


FRONTS = {"Add": "Add(ad, bd)", "Mul": "Mul(ad, bd)", "Tanh": "Tanh(ad)"}
CLAMPS = {
    "Relu(x)": [(0.015, 0), (0.02, 60)],
    "Clip(x, zero, six)": [(6 / 255, 0), (0.03, 0), (0.03, 20)],
    "Clip(x, minus, one)": [(2 / 255, 127), (0.02, 128), (0.02, 20)],
    "Clip(x, half)": [(0.015, 0), (0.02, 60)],
    "com.microsoft.Gelu(x)": [(0.015, 12)],
    "LeakyRelu<alpha = 0.1>(x)": [(0.015, 40)],
}


@needs_htp
@pytest.mark.parametrize("operator", CLAMPS)
@pytest.mark.parametrize("front", FRONTS)
def test_an_activation_behind_another_operator_gives_the_codes_of_the_htp(front, operator, tmp_path):
    for end in CLAMPS[operator]:
        theirs, ours = both(graph(FRONTS[front], operator, (0.025, 110), end), tmp_path)
        assert len(np.unique(theirs)) > 10
        np.testing.assert_array_equal(ours, theirs)


@needs_htp
def test_a_clip_that_is_left_to_a_wider_range_does_not_clip(tmp_path):
    """Its range begins at the lower bound, so the HTP drops it, and with it the upper bound."""
    model = graph(FRONTS["Add"], "Clip(x, zero, half)", (0.025, 110), (0.015, 0))
    theirs, ours = both(model, tmp_path)
    assert theirs.max() * 0.015 > 2 and np.array_equal(ours, theirs)


@needs_htp
@pytest.mark.parametrize("operator", ["Abs(x)", "Relu(x)", "LeakyRelu<alpha = 0.25>(x)"])
def test_ties_of_a_table_fall_as_on_the_htp(operator, tmp_path):
    """Scales a half or three halves apart: every other code is a tie, decided by float32's roundings."""
    for ratio in (0.5, 1.5, 1.25, 2.5):
        for scale, zero in ((0.0137, 235), (0.0203, 27), (0.00816, 125)):
            model = graph("Tanh(ad)", operator, (scale, zero), (scale / ratio, 3))
            theirs, ours = both(model, tmp_path)
            np.testing.assert_array_equal(ours, theirs)


def test_what_is_joined_in_an_unknown_way_is_refused_by_name(tmp_path):
    cases = {
        "HardSwish node 'n1': behind Conv its rounding": lambda n: n.op("HardSwish", n.conv(n.x, 8, 8)),
        "LeakyRelu node 'n2': behind Conv and Transpose its": lambda n: n.op(
            "LeakyRelu", n.op("Transpose", n.conv(n.x, 8, 8), perm=[0, 2, 3, 1])
        ),
        "Pow node 'n0': a power is known here with": lambda n: n.op("Pow", n.x, n.constant(np.float32(3)), width=9),
        "Div node 'n0': a constant divided": lambda n: n.op("Div", n.constant(np.float32(3)), n.x, width=9),
        "Mul node 'n1': behind another factor": lambda n: n.op(
            "Mul", n.op("Mul", n.x, n.constant(np.float32(2)), width=9), n.constant(np.float32(3)), width=9
        ),
    }
    for message, build in cases.items():
        net = Net(np.random.default_rng(0), 1, 8, 13, 11)
        net.ranges["x0"] = (-3, 3)
        model = net.quantize(tmp_path, build(net))
        with pytest.raises(ValueError, match=message) as caught:
            integer.Simulator(model)
        assert "\n" not in str(caught.value)
