"""Integers against the HTP: a whole detector, and rules that would be wrong."""

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from nets import NETS, Net, on, strip
from onnx import numpy_helper

from helpers import affine, assets, graph, integer, qdq, session, vision
from helpers.graph import activations
from helpers.integer import htp_rounding


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


@needs_htp
def test_the_whole_detector_with_weights_of_four_bits_gives_the_codes_of_the_htp(cut, ranges, tmp_path):
    four = qdq.quantize_model(cut, tmp_path / "int4.onnx", ranges, weight="int4")
    ours, htp = session.load(four, "integer"), session.load(four, "htp")
    scales = [qdq.list_qparams(four)[graph.float_name(o.name)].scale for o in htp.get_outputs()]
    for feed in vision.Feeds(assets.images("validation")[:2], cut):
        for a, b, scale in zip(ours.run(None, feed), htp.run(None, feed), scales, strict=True):
            np.testing.assert_array_equal(np.rint(a / scale), np.rint(b / scale))


def test_weights_of_four_bits_without_a_scale_for_each_channel_are_refused(cut, ranges, tmp_path):
    model = onnx.load(qdq.quantize_model(cut, tmp_path / "int4.onnx", ranges, weight="int4"))
    stored = {t.name: t for t in model.graph.initializer}
    weight = "model.0.conv.weight"
    zero = stored[f"{weight}_zero_point"]
    zero.CopyFrom(numpy_helper.from_array(np.ones(zero.dims, graph.constants(model)[zero.name].dtype), zero.name))
    with pytest.raises(ValueError, match=r"model.0/conv/Conv': its weights have a zero point"):
        integer.Simulator(model)
    for name, kind in ((f"{weight}_zero_point", graph.constants(model)[zero.name].dtype), (f"{weight}_scale", "f4")):
        value = np.zeros((), kind) if kind != "f4" else np.float32(0.1)
        stored[name].CopyFrom(numpy_helper.from_array(value, name))
    with pytest.raises(ValueError, match=r"model.0/conv/Conv': its weights are int4 with one scale for all"):
        integer.Simulator(model)


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
    "a Concat that recodes": ("FUSES_INTO_CONCAT", set()),
    "SiLU of a rounded sigmoid": ("sigmoid", lambda x: np.rint(255 / (1 + np.exp(-x))) / 255),
}


@pytest.fixture(scope="module")
def truths(int8, picture, theirs, tmp_path_factory):
    """(model, feed, the HTP's codes) of the whole detector, and of a Concat whose inputs all change their scale."""
    folder = tmp_path_factory.mktemp("concat")
    net = Net(np.random.default_rng(0), 1, 8, 13, 11)
    model, feed = net.quantize(folder, NETS["concat"](net)), net.feed()
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
    for module in (htp_rounding, activations, integer.builder):
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
    monkeypatch.setattr(htp_rounding, "htp_requantize", lambda acc, *rest: seen.append(acc.copy()) or real(acc, *rest))
    prepared = integer.Simulator(model)
    prepared.run({"x0": np.full((1, 300, 6, 5), 255, np.uint8)})
    weight, params = prepared.stored["c0"].astype(np.int64), prepared.qparams
    unit = np.float32(params["x0"].scale) * params["c0"].scale.max()
    bias = htp_rounding.stored_bias(prepared.stored["c1"], params["c1"].scale.max(), unit)
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
    next(n for n in model.graph.node if n.op_type == "MaxPool").op_type = "LRN"
    a16 = qdq.quantize_model(cut, tmp_path / "a16.onnx", ranges, a16=[next(iter(ranges))])
    cases = [
        (
            lambda: integer.Simulator(model),
            "LRN node '/model.9/m/MaxPool': no integer kernel; use target 'cpu'",
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
