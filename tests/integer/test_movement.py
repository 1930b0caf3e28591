"""Movement, pooling, reductions and pairs of tensors against the HTP: every code, alone and in front of a Concat."""

import numpy as np
import pytest
from conftest import needs_htp
from nets import Net, assert_refused, off_zero, on
from ops_movement import NETS, behind_conv, two_convs

from helpers import integer, qdq


def compare(name, build, folder, seed):
    net = Net(np.random.default_rng([seed, *name.encode()]), 1, 8, 13, 11)
    output = build(net)
    model, feed = net.quantize(folder, output), net.feed()
    ours, theirs = integer.run(model, feed)[output], on("htp", model, feed, folder)[0]
    assert theirs.std() > 1
    return ours, theirs


@needs_htp
@pytest.mark.parametrize("name", NETS)
def test_every_operator_gives_the_codes_of_the_htp(name, tmp_path):
    for seed in range(3):
        np.testing.assert_array_equal(*compare(name, NETS[name], tmp_path, seed))


OWN_SCALE = ["MaxPool 2x2 s2", "Resize nearest asym floor"]  # the quantizer gives these their input's scale


@needs_htp
@pytest.mark.parametrize("name", OWN_SCALE)
def test_with_a_scale_of_its_own_it_gives_the_codes_of_the_htp(name, tmp_path):
    for seed in range(3):
        net = Net(np.random.default_rng([seed, *name.encode()]), 1, 8, 13, 11)
        output = NETS[name](net)
        model, feed, source = net.quantize(tmp_path, output), net.feed(), net.nodes[-1].input[0]
        low, high = net.ranges[source]
        qdq.set_range(model, output, low * 0.8 - 0.5, high * 0.7 + 0.5)
        params = qdq.list_qparams(model)
        assert params[output].scale != params[source].scale
        np.testing.assert_array_equal(integer.run(model, feed)[output], on("htp", model, feed, tmp_path)[0])


def test_an_own_scale_in_front_of_a_concat_of_a_third_is_refused(tmp_path):
    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    output = joined(net, lambda n: behind_conv(n, "MaxPool", kernel_shape=[2, 2], off=True))
    model = net.quantize(tmp_path, output)
    qdq.set_range(model, "t1_0", -50, 50)
    with pytest.raises(ValueError, match=r"MaxPool node 'n1': its output, its input and Concat .* have three scales"):
        integer.Simulator(model)


def joined(n, build):
    """A Concat, at another scale, of what `build` makes twice of a net."""
    x, y = build(n), build(n)
    low, high = n.ranges[x]
    return n.op("Concat", x, y, width=(high - low) * n.rng.uniform(0.6, 1.6), axis=1)


INTO_CONCAT = {
    "Sub": lambda n: off_zero(n, two_convs(n, "Sub")),
    "Max": lambda n: off_zero(n, two_convs(n, "Max")),
    "Min": lambda n: off_zero(n, two_convs(n, "Min")),
    "GlobalAveragePool": lambda n: behind_conv(n, "GlobalAveragePool", own=True, depth=64, off=True),
    "AveragePool": lambda n: behind_conv(n, "AveragePool", kernel_shape=[3, 3], strides=[2, 2], off=True),
    "ReduceMax": lambda n: behind_conv(n, "ReduceMax", own=True, axes=[3], off=True),
    "Unsqueeze": lambda n: behind_conv(n, "Unsqueeze", np.int64([1]), off=True),
    "MaxPool": lambda n: behind_conv(n, "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, off=True),
}


@needs_htp
@pytest.mark.parametrize("name", INTO_CONCAT)
def test_in_front_of_a_concat_of_another_scale_it_gives_the_codes_of_the_htp(name, tmp_path):
    for seed in range(3):
        np.testing.assert_array_equal(*compare(name, lambda n: joined(n, INTO_CONCAT[name]), tmp_path, seed))


REFUSED = {
    "AveragePool node 'n1': this window, stride and margin": lambda n: behind_conv(
        n, "AveragePool", kernel_shape=[2, 2]
    ),
    "AveragePool node 'n1': its output has another scale": lambda n: behind_conv(
        n, "AveragePool", kernel_shape=[2, 2], strides=[2, 2]
    ),
    "DepthToSpace node 'n1': its output has another scale": lambda n: behind_conv(
        n, "DepthToSpace", own=True, blocksize=2
    ),
    "Pad node 'n1': mode wrap is not known": lambda n: behind_conv(n, "Pad", np.int64([0] * 7 + [1]), mode="wrap"),
    "Concat node 'n4': an input that a Gather makes": lambda n: joined(
        n, lambda n: behind_conv(n, "Gather", np.int64([0, 1]), axis=1, off=True)
    ),
    "Gather node 'n1': its output has another scale": lambda n: behind_conv(n, "Gather", np.int64([0, 1]), axis=1),
    "MaxPool node 'n1': the HTP takes no MaxPool with dilations": lambda n: behind_conv(
        n, "MaxPool", kernel_shape=[3, 3], dilations=[2, 2]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_proved_is_refused_by_name(message, tmp_path):
    assert_refused(REFUSED[message], message, tmp_path)
