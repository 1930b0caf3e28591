"""Which layer is guilty: SQNR of every tensor, cumulative and isolated."""

import weakref

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import needs_htp

from helpers import affine, assets, calibrate, error, graph, integer, qdq, session, vision


@pytest.fixture(scope="module")
def feeds(cut):
    return list(vision.Feeds(assets.images("validation")[:2], cut))


def exposed(path, tensors, feed):
    model = graph.read_model(path)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors)
    return ort.InferenceSession(model.SerializeToString()).run(None, feed)


def test_cumulative_at_the_outputs_is_the_sqnr_of_both_sessions_outputs(cut, int8, feeds):
    found = qdq.layer_sqnr(cut, int8, feeds)
    left, right = session.load(cut), session.load(int8)
    for k, o in enumerate(left.get_outputs()):
        a, b = (np.stack([s.run([o.name], f)[0] for f in feeds]) for s in (left, right))
        assert found[o.name] == pytest.approx(error.sqnr_db(a, b), abs=0.01), k


def test_the_order_is_the_graph_s_and_inputs_stay_out(cut, int8, feeds):
    found = list(qdq.layer_sqnr(cut, int8, feeds[:1]))
    order = [o for n in graph.read_model(cut).graph.node for o in n.output]
    assert found == [t for t in order if t in found] and len(found) > 200


def test_isolated_activations_are_a_fake_quantization_of_the_float_tensor(cut, int8, feeds):
    found = qdq.layer_sqnr(cut, int8, feeds[:1], isolated=True, only="activations")
    tensors = list(found)[5:205:40]
    for t, x in zip(tensors, exposed(cut, tensors, feeds[0]), strict=True):
        expected = error.sqnr_db(x, affine.fake_quantize(x, qdq.list_qparams(int8)[t]))
        assert found[t] == pytest.approx(expected, abs=0.01)


def test_isolated_weights_touch_only_layers_with_weights_and_equal_a_model_with_that_weight_swapped(
    cut, int8, feeds, tmp_path
):
    found = qdq.layer_sqnr(cut, int8, feeds[:1], isolated=True, only="weights")
    model = graph.read_model(cut)
    convs = {n.output[0]: n for n in model.graph.node if n.op_type == "Conv"}
    assert {t for t, v in found.items() if np.isfinite(v)} == convs.keys() & found.keys()
    tensor, node = list(convs.items())[7]
    stored, params, codes = graph.constants(model), qdq.list_qparams(int8), graph.constants(graph.read_model(int8))
    for t in model.graph.initializer:
        if t.name in node.input[1:]:
            swapped = affine.dequantize(codes[t.name + "_quantized"], params[t.name]).reshape(stored[t.name].shape)
            t.CopyFrom(onnx.numpy_helper.from_array(swapped, t.name))
    onnx.save(model, tmp_path / "one.onnx")
    a, b = (exposed(p, [tensor], feeds[0])[0] for p in (cut, tmp_path / "one.onnx"))
    assert found[tensor] == pytest.approx(error.sqnr_db(a, b), abs=0.05)


def test_the_weights_of_a_conv_count_where_its_relu6_has_the_codes(tmp_path):
    model, rng = assets.model("shapes_classifier"), np.random.default_rng(0)
    feeds = [{"image": rng.random((1, 3, 64, 64), np.float32)}]
    ranges = calibrate.ranges(calibrate.observe(model, feeds), "minmax")
    tensor, weight = "/blocks/blocks.2/depthwise/depthwise.2/Clip_output_0", "blocks.2.depthwise.0.weight"
    found = {}
    for per_channel in (False, True):
        int8 = qdq.quantize_model(model, tmp_path / "int8.onnx", ranges, per_channel=per_channel)
        found[per_channel] = qdq.layer_sqnr(model, int8, feeds, isolated=True, only="weights")[tensor]
        codes, params = graph.constants(int8)[f"{weight}_quantized"], qdq.list_qparams(int8)[weight]
        swapped = graph.Model.of(model).with_weights({weight: affine.dequantize(codes, params)})
        a, b = (session.load(m.with_outputs([tensor])).run(None, feeds[0])[0] for m in (graph.Model.of(model), swapped))
        assert found[per_channel] == pytest.approx(error.sqnr_db(a, b), abs=0.2)
    assert found[False] < 20 and found[True] > 40


def test_weights_alone_and_activations_alone_each_leave_the_other_kind_float(cut, int8, ranges, feeds, tmp_path):
    fine = qdq.quantize_model(cut, tmp_path / "w16.onnx", ranges, weight="int16")
    middle = {k: np.median(list(qdq.layer_sqnr(cut, int8, feeds, only=k).values())) for k in ("weights", "activations")}
    assert middle["activations"] == pytest.approx(np.median(list(qdq.layer_sqnr(cut, fine, feeds).values())), abs=0.2)
    assert middle["weights"] > middle["activations"] + 5


def test_isolation_names_the_operator_that_was_broken_where_cumulative_shows_all_behind_it(cut, int8, ranges, feeds):
    victim = "/model.3/act/Mul_output_0"
    model = qdq.set_range(onnx.load(int8), victim, *(r / 100 for r in ranges[victim]))
    broken = int8.with_name("broken.onnx")
    onnx.save(model, broken)
    before, alone = (qdq.layer_sqnr(cut, p, feeds[:1], isolated=True) for p in (int8, broken))
    assert {t for t in alone if abs(alone[t] - before[t]) > 0.5} == {victim}
    npu = qdq.layer_sqnr(cut, broken, feeds[:1], "integer", isolated=True)
    assert min(npu, key=npu.get) == victim
    through = qdq.layer_sqnr(cut, broken, feeds[:1])
    behind = list(through)[list(through).index(victim) :]
    assert np.median([through[t] for t in behind]) < 10 < through[next(iter(through))]


def test_integer_is_what_the_model_computes_and_isolated_kernels_read_float_inputs(cut, int8, feeds):
    found = qdq.layer_sqnr(cut, int8, feeds[:1], "integer")
    codes, params = integer.Simulator(int8).run(feeds[0], every=True), qdq.list_qparams(int8)
    tensors = list(found)[3:150:30]
    for t, x in zip(tensors, exposed(cut, tensors, feeds[0]), strict=True):
        assert found[t] == pytest.approx(error.sqnr_db(x, affine.dequantize(codes[t], params[t])), abs=0.01)
    alone = qdq.layer_sqnr(cut, int8, feeds[:1], "integer", isolated=True)
    assert np.median(list(alone.values())) > np.median(list(found.values())) + 5


@needs_htp
def test_htp_shows_the_outputs_as_the_integer_model_does(cut, int8, feeds):
    npu, ours = (qdq.layer_sqnr(cut, int8, feeds[:1], target) for target in ("htp", "integer"))
    assert len(npu) == 6 and all(npu[t] == pytest.approx(ours[t], abs=0.3) for t in npu)


def test_memory_of_all_feeds_is_that_of_one(cut, int8, feeds):
    """A generator is read once, one feed at a time, and each is let go before the next but one."""
    alive, held = weakref.WeakValueDictionary(), []

    def stream():
        for k in range(4):
            held.append(len(alive))
            alive[k] = x = feeds[0]["images"].copy()
            yield {"images": x}
            del x

    assert qdq.layer_sqnr(cut, int8, stream()) == pytest.approx(qdq.layer_sqnr(cut, int8, feeds[:1]), abs=0.01)
    assert held == [0, 1, 1, 1]


def test_bad_input_is_one_sentence(cut, int8, feeds):
    cases = [
        ({"target": "gpu"}, "target 'gpu' is unknown"),
        ({"only": "bias"}, "only 'bias' is unknown"),
        ({"target": "integer", "only": "weights"}, "cannot leave a kind float"),
        ({"target": "htp", "isolated": True}, "outputs only"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            qdq.layer_sqnr(cut, int8, feeds, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="there are no feeds"):
        qdq.layer_sqnr(cut, int8, [])
    with pytest.raises(ValueError, match="there are no feeds"):
        qdq.rounding_gap(int8, [])
