"""Softmax against the HTP: at most one code in a thousand differs, by one step."""

import numpy as np
import pytest
from conftest import needs_htp
from nets import Net, on
from onnx.parser import parse_model

from helpers import integer


def softmax(n, x, axis=-1):
    y = n.op("Softmax", x, axis=axis)
    n.ranges[y] = (0, 1)
    return y


def joined(n):
    return n.op("Concat", softmax(n, n.conv(n.x, 8, 24), 1), n.x, axis=1)


NETS = {
    "last axis": lambda n: softmax(n, n.input(1, 4, 60, 49)),
    "classes": lambda n: softmax(n, n.input(40, 91)),
    "axis 1 behind Conv": lambda n: softmax(n, n.conv(n.x, 8, 24), 1),
    "behind Tanh": lambda n: softmax(n, n.op("Tanh", n.conv(n.x, 8, 24), width=2), 1),
}


@needs_htp
@pytest.mark.parametrize("name", NETS)
def test_softmax_gives_the_codes_of_the_htp(name, tmp_path):
    wrong = total = 0
    for seed in range(3):
        net = Net(np.random.default_rng([seed, *name.encode()]), 1, 8, 13, 11)
        output = NETS[name](net)
        model, feed = net.quantize(tmp_path, output), net.feed()
        theirs = on("htp", model, feed, tmp_path)[0].astype(int)
        apart = np.abs(integer.run(model, feed)[output] - theirs)
        assert apart.max() <= 1 and len(np.unique(theirs)) > 4
        wrong, total = wrong + np.count_nonzero(apart), total + apart.size
    assert wrong <= total / 1000


def test_what_is_not_known_of_softmax_is_refused_by_name(tmp_path):
    cases = {
        "Softmax node 'n0': of 11 numbers": lambda n: softmax(n, n.x),
        "Softmax node 'n1': behind a factor": lambda n: softmax(
            n, n.op("Mul", n.input(1, 40), n.constant(np.float32(0.3)), width=9)
        ),
        "Softmax node 'n1': behind a factor of one element, or in front of a Concat": joined,
    }
    for message, build in cases.items():
        net = Net(np.random.default_rng(0), 1, 8, 13, 11)
        with pytest.raises(ValueError, match=message):
            integer.Simulator(net.quantize(tmp_path, build(net)))


@pytest.mark.parametrize(
    ("scale", "zero", "message"), [(0.004, 23, "its output has Z = 23"), (0.0005, 0, "its output's scale is 0.0005")]
)
def test_an_output_that_is_not_known_is_refused(scale, zero, message):
    model = parse_model(f"""<ir_version: 8, opset_import: ["": 17]> g (uint8[1,40] a) => (uint8[1,40] y)
        <float s = {{0.02}}, uint8 z = {{0}}, float sy = {{{scale}}}, uint8 zy = {{{zero}}}> {{
          x = DequantizeLinear(a, s, z)  r = Softmax(x)  y = QuantizeLinear(r, sy, zy) }}""")
    with pytest.raises(ValueError, match=message):
        integer.Simulator(model)
