"""The QDQ graph: the head cut, true 8 bits everywhere, our ranges in, and the QParams read back."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers import affine, assets, qdq, session, vision


def test_the_cut_head_gives_boxes_and_scores_per_stride_and_changes_no_detection(cut):
    shapes = [tuple(o.shape) for o in session.load(cut).get_outputs()]
    classes = shapes[1][1]
    assert shapes == [s for n in (40, 20, 10) for s in ((1, 64, n, n), (1, classes, n, n))]
    picture = assets.images("validation")[0]
    whole, parts = (vision.Detector(m).detect(picture) for m in (assets.model(), cut))
    assert len(whole[0]) and len(whole[0]) == len(parts[0])
    np.testing.assert_allclose(parts[0], whole[0], atol=0.01)
    np.testing.assert_allclose(parts[1], whole[1], atol=1e-4)
    np.testing.assert_array_equal(parts[2], whole[2])


def test_cutting_twice_changes_nothing(cut, tmp_path):
    again = qdq.read_model(qdq.split_head(cut, tmp_path / "again.onnx"))
    assert [o.name for o in again.graph.output] == [o.name for o in qdq.read_model(cut).graph.output]


def test_every_activation_is_8_bits_and_every_weight_is_stored_as_int8_per_channel(cut, int8):
    params, graph = qdq.list_qparams(int8), qdq.read_model(cut).graph
    weights = {n.input[1] for n in graph.node if n.op_type == "Conv"}
    biases = {n.input[2] for n in graph.node if n.op_type == "Conv"}
    activations = {o for n in graph.node for o in n.output} | {i.name for i in graph.input}
    assert {params[w].dtype for w in weights} == {"int8"} and {params[w].axis for w in weights} == {0}
    assert all(np.all(params[w].zero_point == 0) for w in weights)
    assert {params[t].dtype for t in activations & params.keys()} == {"uint8"}
    assert params.keys() - weights - biases <= activations
    stored = {t.name: t.data_type for t in onnx.load(int8).graph.initializer}
    assert all(stored[w + "_quantized"] == TensorProto.INT8 for w in weights)
    assert int8.stat().st_size < cut.stat().st_size / 2.5


def test_our_ranges_are_what_the_graph_holds(int8, ranges):
    params = qdq.list_qparams(int8)
    tensor = "images"
    expected = affine.choose_qparams(*ranges[tensor])
    assert params[tensor].zero_point == expected.zero_point
    assert params[tensor].scale == pytest.approx(expected.scale, rel=1e-6)


def test_a16_gives_the_named_tensor_16_bits_and_no_other(cut, ranges, tmp_path):
    tensor = next(n.output[0] for n in qdq.read_model(cut).graph.node if n.op_type == "Concat")
    params = qdq.list_qparams(qdq.quantize_model(cut, tmp_path / "a16.onnx", ranges, a16=[tensor]))
    assert params[tensor].dtype == "uint16"
    assert sum(p.dtype == "uint16" for p in params.values()) <= 6  # with the converted copies of its neighbours


def test_per_tensor_weights_have_one_scale(cut, ranges, tmp_path):
    params = qdq.list_qparams(qdq.quantize_model(cut, tmp_path / "pt.onnx", ranges, per_channel=False))
    assert all(p.axis is None for p in params.values())


def test_the_whole_head_makes_every_score_zero(work):
    """The failure that the cut repairs: one 8-bit scale over boxes and scores leaves no score above half a step."""
    from helpers import calibrate

    feeds = vision.Feeds(assets.images("calibration")[:2], assets.model())
    found = calibrate.ranges(calibrate.observe(assets.model(), feeds), "minmax")
    whole = qdq.quantize_model(assets.model(), work / "whole.onnx", found)
    output = session.load(whole).run(None, next(iter(feeds)))[0]
    assert output[0, 4:].max() == 0.0
    assert output[0, :4].max() > 100


def conv_model(path, shape=(1, 3, 8, 8), op="Conv"):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")
    node = helper.make_node(op, ["x", "w"] if op == "Conv" else ["x"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [w] if op == "Conv" else [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, int8, cut, ranges):
    (tmp_path / "text.onnx").write_text("no model")
    tensor = next(iter(ranges))
    cases = [
        (lambda out: qdq.split_head(tmp_path / "nowhere.onnx", out), "nowhere.onnx: no such file"),
        (lambda out: qdq.split_head(tmp_path / "text.onnx", out), "text.onnx: not an ONNX model"),
        (lambda out: qdq.split_head(conv_model(tmp_path / "relu.onnx", op="Relu"), out), "relu.onnx: no YOLOv8"),
        (lambda out: qdq.split_head(conv_model(tmp_path / "dyn.onnx", (1, 3, "h", 8)), out), "'x' has a dynamic"),
        (lambda out: qdq.quantize_model(int8, out, ranges), "int8.onnx: already quantized"),
        (lambda out: qdq.quantize_model(cut, out, ranges, activation="float8"), "dtype 'float8' is unknown"),
        (lambda out: qdq.quantize_model(cut, out, {**ranges, "ghost": (0, 1)}), "has no tensor 'ghost'"),
        (lambda out: qdq.quantize_model(cut, out, {**ranges, tensor: (0, np.nan)}), "range of tensor"),
        (lambda out: qdq.quantize_model(cut, out, {**ranges, tensor: (1, 0)}), "rmin ≤ rmax"),
        (lambda out: qdq.quantize_model(cut, out, {}), "no range for tensor"),
    ]
    for k, (call, message) in enumerate(cases):
        folder = tmp_path / f"case{k}"
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            call(folder / "out.onnx")
        assert "\n" not in str(caught.value)
        assert not folder.exists() or not list(folder.iterdir())


def test_an_exposed_tensor_is_the_codes_of_the_graph_as_written(int8, tmp_path):
    inner = "/model.2/m.0/cv1/conv/Conv_output_0"
    shown = session.load(qdq.expose(int8, [inner], tmp_path / "shown.onnx"))
    feed = next(iter(vision.Feeds(assets.images()[:1], int8)))
    *outputs, codes = shown.run(None, feed)
    assert codes.dtype == np.uint8 and list(codes.shape) == shown.get_outputs()[-1].shape == [1, 8, 80, 80]
    assert all(np.array_equal(a, b) for a, b in zip(outputs, session.load(int8).run(None, feed), strict=True))
    integers = session.load(tmp_path / "shown.onnx", "integer").run(None, feed)[-1]
    assert 0 < np.abs(codes.astype(int) - integers).mean() < 2, "other roundings, the same tensor"
    with pytest.raises(ValueError, match="tensor 'nothing' is not quantized; the nearest that are"):
        qdq.expose(int8, ["nothing"], tmp_path / "no.onnx")


@pytest.mark.parametrize("op, fused", [("LeakyRelu", True), ("HardSwish", True), ("Sigmoid", False)])
def test_expose_says_where_the_htp_has_no_codes_to_show(op, fused, tmp_path):
    model = onnx.load(conv_model(tmp_path / "conv.onnx"))
    model.graph.node.append(helper.make_node(op, ["y"], ["a"], name="act"))
    model.graph.output[0].name = "a"
    onnx.save(model, tmp_path / "float.onnx")
    path = qdq.quantize_model(tmp_path / "float.onnx", tmp_path / "q.onnx", {"x": (0, 1), "y": (-4, 4), "a": (-1, 4)})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        qdq.expose(path, ["y", "a"], tmp_path / "shown.onnx")
    assert [str(w.message).split(",")[0] for w in said if w.category is UserWarning] == (
        [f"the HTP computes Conv and {op} as one"] if fused else []
    )


@pytest.mark.parametrize("location", ["../secret.bin", "nowhere.bin"])
def test_weights_outside_of_the_models_folder_are_refused(location, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    folder = tmp_path / "model"
    folder.mkdir()
    model = onnx.load(conv_model(folder / "a.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ValueError, match=r"a\.onnx: its weights in other files cannot be read .* into the model's folder"
    ) as e:
        qdq.read_model(folder / "a.onnx")
    assert "\n" not in str(e.value)


def qparams_equal(a, b):
    return all(
        np.allclose(a[t].scale, b[t].scale, rtol=2e-6, atol=0) and np.array_equal(a[t].zero_point, b[t].zero_point)
        for t in b
    )


@pytest.mark.parametrize("tensor", ["/model.0/act/Mul_output_0", "/model.1/conv/Conv_output_0"])
@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_a_patched_range_gives_the_graph_that_a_fresh_quantization_gives(cut, int8, ranges, tmp_path, tensor, factor):
    new = tuple(factor * r for r in ranges[tensor])
    fresh = qdq.quantize_model(cut, tmp_path / "fresh.onnx", {**ranges, tensor: new})
    model = qdq.set_range(onnx.load(int8), tensor, *new)
    onnx.checker.check_model(model)
    assert qparams_equal(qdq.list_qparams(model), qdq.list_qparams(fresh))
    a, b = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (model, onnx.load(fresh)))
    assert a.keys() == b.keys()
    for name in b:
        if b[name].dtype == np.int32 and b[name].ndim:  # a bias comes from its codes, so half an old step is lost
            assert np.abs(a[name] - b[name]).max() <= 1
        elif b[name].dtype.kind in "iu":
            np.testing.assert_array_equal(a[name], b[name])
    for t in model.graph.initializer:  # one step of one bias reaches a third of the output's codes, so level them
        t.CopyFrom(numpy_helper.from_array(b[t.name] if b[t.name].dtype == np.int32 else a[t.name], t.name))
    onnx.save(model, tmp_path / "patched.onnx")
    feed = next(iter(vision.Feeds(assets.images("validation")[:1], cut)))
    for x, y in zip(*(session.load(tmp_path / f"{n}.onnx").run(None, feed) for n in ("patched", "fresh")), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)


def test_a_patched_range_leaves_tensors_that_shared_its_scale(int8):
    """MaxPool's output stores its scale with its input's; each can then go its own way."""
    before = qdq.list_qparams(int8)
    tensor, twin = "/model.9/cv1/act/Mul_output_0", "/model.9/m/MaxPool_output_0"
    assert before[tensor] == before[twin]
    after = qdq.list_qparams(qdq.set_range(onnx.load(int8), tensor, -1, 4))
    assert after[tensor] == affine.choose_qparams(-1, 4)
    biases = {t for t in before if t.endswith(".bias")}
    changed = {t for t in before if before[t] != after[t]}
    assert changed - biases == {tensor} and len(changed & biases) <= 1


def test_a_patched_range_keeps_16_bits(cut, ranges, tmp_path):
    tensor = "/model.1/act/Mul_output_0"
    path = qdq.quantize_model(cut, tmp_path / "a16.onnx", ranges, a16=[tensor])
    assert qdq.set_range(path, tensor, -1, 3) == path
    assert qdq.list_qparams(path)[tensor] == affine.choose_qparams(-1, 3, "uint16")
    session.load(path)


def test_a_range_that_cannot_be_set_leaves_the_model_as_it_was(int8):
    model = onnx.load(int8)
    whole = model.SerializeToString()
    cases = [
        (("/model.0/act/Mul", 0, 1), "no activation '/model.0/act/Mul'; the nearest names are .*Mul_output_0"),
        (("/model.0/act/Mul_output_0", 1, 0), "tensor '/model.0/act/Mul_output_0': range"),
        (("/model.0/act/Mul_output_0", 0, np.inf), "not two finite numbers"),
        (("/model.0/act/Mul_output_0", 0, 1e-12), "needs more than 32 bits"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            qdq.set_range(model, *arguments)
        assert "\n" not in str(caught.value)
    assert model.SerializeToString() == whole
