"""Sums of products against the HTP: every code."""

import numpy as np
import pytest
from conftest import needs_htp
from nets import Net, on
from ops_products import NETS, PICTURE, ROWS, depthwise, weights

from helpers import integer


@needs_htp
@pytest.mark.parametrize("name", NETS)
def test_every_product_gives_the_codes_of_the_htp(name, tmp_path):
    shape, build = NETS[name]
    for seed in range(3):
        net = Net(np.random.default_rng([seed, *name.encode()]), *shape)
        output = build(net)
        model, feed = net.quantize(tmp_path, output, per_channel=seed < 2), net.feed()
        theirs = on("htp", model, feed, tmp_path)[0]
        assert len(np.unique(theirs)) > 20
        np.testing.assert_array_equal(integer.run(model, feed)[output], theirs)


def grouped(n, groups, **attributes):
    given = {"kernel_shape": [3, 3], "strides": [2, 2], "group": groups} | attributes
    return n.op("ConvTranspose", n.x, weights(n, 8, 8 // groups, 3, 3), width=40, **given)


REFUSED = {
    "Conv node 'n0': strides and dilations together": (
        PICTURE,
        lambda n: n.conv(n.x, 8, 8, 3, strides=[2, 2], dilations=[2, 2]),
    ),
    "Gemm node 'n0': alpha, beta other than 1": (
        ROWS,
        lambda n: n.op("Gemm", n.x, weights(n, 24, 40), width=60, transB=1, alpha=0.5),
    ),
    "ConvTranspose node 'n0': only a window of 2": (PICTURE, lambda n: grouped(n, 1, auto_pad="SAME_UPPER")),
    "ConvTranspose node 'n0': several groups": (PICTURE, lambda n: grouped(n, 2)),
    "ConvTranspose node 'n0': one channel a group": (PICTURE, lambda n: grouped(n, 8, output_padding=[1, 1])),
    "MatMul node 'n0': its second factor has Z = ": ((5, 8), lambda n: n.op("MatMul", n.x, n.input(8, 7), width=9)),
    "MatMul node 'n0': weights of 3 dimensions": (
        (2, 30, 40),
        lambda n: n.op("MatMul", n.x, weights(n, 2, 40, 24), width=60),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_proved_is_refused_by_name(message, tmp_path):
    shape, build = REFUSED[message]
    net = Net(np.random.default_rng(0), *shape)
    with pytest.raises(ValueError, match=message) as caught:
        integer.Simulator(net.quantize(tmp_path, build(net)))
    assert "\n" not in str(caught.value) and "use target 'cpu'" in str(caught.value)


def test_a_strided_depthwise_sum_holds_the_zero_point_before_it_is_multiplied(tmp_path):
    """⌊(Σ + round(Z/M))·M + ½⌋, not ⌊Σ·M + ½⌋ + Z: they differ where Z/M is no whole number."""
    net = Net(np.random.default_rng(3), *PICTURE)
    output = depthwise(net, 3, 2, bias=False)
    model = integer.Simulator(net.quantize(tmp_path, output, per_channel=False))
    x = np.full(PICTURE, model.qparams["x0"].zero_point)
    assert set(model.run({"x0": x})[output].ravel()) == {model.qparams[output].zero_point}
