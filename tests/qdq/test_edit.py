"""A QDQ graph changed in place: another range, an inner tensor shown."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_models import conv_model

from helpers import affine, assets, qdq, session, vision


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


@pytest.mark.parametrize("how", [{"weight": "int4"}, {"activation": "uint16"}])
def test_tensors_beside_four_and_sixteen_bits_are_exposed_too(cut, ranges, how, tmp_path):
    inner = "/model.2/m.0/cv1/conv/Conv_output_0"
    path = qdq.expose(qdq.quantize_model(cut, tmp_path / "q.onnx", ranges, **how), [inner], tmp_path / "shown.onnx")
    assert session.load(path).get_outputs()[-1].shape == [1, 8, 80, 80]


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
