"""A QDQ file from a list of nodes computes what ONNX Runtime's quantizer's file does."""

from dataclasses import replace

import numpy as np
import pytest

from helpers import assets, graph, qdq, session, vision
from helpers.affine import QParams
from helpers.exercise.builds.qdq import insert
from helpers.qdq.assemble import stored_codes


def listed(fp32, params):
    model = graph.Model.of(fp32)
    nodes = []
    for node in model.nodes:
        inputs = tuple(t for t in node.input if t in params)
        nodes += insert(node.op_type, inputs, tuple(node.output), set(model.constants))
    return nodes


def test_the_detector_from_a_list_has_the_same_outputs_bit_for_bit(int8, cut, tmp_path):
    params = qdq.list_qparams(int8)
    mine = qdq.assemble(cut, listed(cut, params), params, tmp_path / "mine.onnx")
    feed = next(iter(vision.Feeds(assets.images()[:1], int8)))
    theirs, ours = (session.load(path).run(None, feed) for path in (int8, mine))
    assert all(np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True))
    assert graph.Model.of(mine).qparams.keys() == params.keys()


def test_large_codes_of_a_bias_are_divided_in_float64():
    rng = np.random.default_rng(0)
    bias, scale = rng.normal(0, 9, 50_000).astype(np.float32), rng.uniform(1e-5, 1e-4, 50_000).astype(np.float32)
    exact = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    assert np.array_equal(stored_codes(bias, QParams(scale, np.zeros(50_000, int), "int32", 0)), exact)
    assert not np.array_equal(np.rint(bias / scale), exact), "float32 would do"


def test_a_list_that_does_not_fit_is_refused(int8, cut, tmp_path):
    params = qdq.list_qparams(int8)
    with pytest.raises(ValueError, match="no node makes 'nothing'"):
        qdq.assemble(cut, [("Relu", ("x",), ("nothing",))], params, tmp_path / "no.onnx")
    with pytest.raises(ValueError, match="tensor 'nothing' has no scale"):
        qdq.assemble(cut, [("Q", ("nothing",), ("nothing_q",))], params, tmp_path / "no.onnx")
    four = {**params, "images": replace(params["images"], dtype="uint4")}
    with pytest.raises(ValueError, match="4 bits"):
        qdq.assemble(cut, listed(cut, params), four, tmp_path / "no.onnx")
