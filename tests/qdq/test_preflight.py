"""`check`: every line of the table of remedies tried on the emulator, and what is named where nothing compiles."""

import numpy as np
import pytest
from conftest import needs_htp
from small_models import net, weights

from helpers import assets, targets
from helpers.qdq import hard_spots, remedies
from helpers.qdq.preflight import check

F = np.float32
MAP, ROWS = "float[1,4,8,8] x", "float[1,8] x"
STORED = {"k": weights(4, 4, 1, 1), "axes": np.int64([2, 3]), "one": F(1), "half": F(0.5), "w": weights(4, 8, 8)}
STORED |= {"eye": np.eye(8, dtype=F), "three": np.int64([3]), "yes": np.array([True, False, True, True])}
STORED |= {"wide": np.int64([1, 4, 4, 2, 4, 2]), "back": np.int64([1, 4, 8, 8]), "some": np.int64([0, 2, 3])}
STORED |= {"flat": np.int64([1, 256]), "v": weights(256), "slices": np.int64([1, 8, 6, 6]), "twice": F([1, 1, 2, 2, 2])}
STORED |= {"rows": np.int64([1, 2, 4, 9]), "pooled": np.int64([1, 2, 2, 3, 3]), "plane": F([1, 1, 2, 2])}
STORED |= {"deep": np.int64([1, 2, 4, 144]), "depth": F([1, 1, 2, 1]), "grown": np.int64([1, 2, 8, 12, 12])}
STORED |= {"dft": weights(16, 18), "sixteen": np.int64([1, 16]), "eight": np.int64(8), "values": F([0, 1])}
CASES = {  # operator: (refused, what the remedy says, inputs)
    "Erf": ("y = Erf(x)", "y = Gelu(x)", MAP),
    "Softsign": ("y = Softsign(x)", "a = Abs(x)  b = Add(a, one)  y = Div(x, b)", MAP),
    "Celu": ("y = Celu(x)", "y = Elu(x)", MAP),
    "Shrink": ("y = Shrink(x)", "p = Sub(x, half)  r = Relu(p)  y = Sub(x, r)", MAP),
    "Hardmax": ("y = Hardmax(x)", "i = ArgMax<axis = 1, keepdims = 0>(x)  y = Gather(eye, i)", ROWS),
    "Sinh": ("y = Sinh(x)", "n = Neg(x)  a = Exp(x)  b = Exp(n)  c = Sub(a, b)  y = Mul(c, half)", MAP),
    "Cosh": ("y = Cosh(x)", "n = Neg(x)  a = Exp(x)  b = Exp(n)  c = Add(a, b)  y = Mul(c, half)", MAP),
    "Mod": ("y = Mod<fmod = 1>(x, half)", "a = Div(x, half)  b = Floor(a)  c = Mul(b, half)  y = Sub(x, c)", MAP),
    "ReduceL1": ("y = ReduceL1(x, axes)", "a = Abs(x)  y = ReduceSum(a, axes)", MAP),
    "ReduceSumSquare": ("y = ReduceSumSquare(x, axes)", "a = Mul(x, x)  y = ReduceSum(a, axes)", MAP),
    "ReduceLogSum": ("y = ReduceLogSum(x, axes)", "a = ReduceSum(x, axes)  y = Log(a)", MAP),
    "ReduceLogSumExp": ("y = ReduceLogSumExp(x, axes)", "a = Exp(x)  b = ReduceSum(a, axes)  y = Log(b)", MAP),
    "GlobalLpPool": ("y = GlobalLpPool(x)", "y = ReduceL2(x, axes)", MAP),
    "Trilu": ("y = Trilu(x)", "y = Mul(x, eye)", MAP),
    "OneHot": ("y = OneHot(x, eight, values)", "y = Gather(eye, x)", "int64[1,5] x"),
    "DFT": ("a = Reshape(x, back)  y = DFT(a, , three_axis)", "a = Reshape(x, sixteen)  y = MatMul(a, dft)", None),
    "MaxUnpool": (
        "a, i = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) "
        "y = MaxUnpool<kernel_shape = [2,2], strides = [2,2]>(a, i)",
        "a = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x)  y = Resize(a, , plane)",
        MAP,
    ),
    "LayerNormalization": (
        "y = LayerNormalization<axis = 1>(x, w)",
        "a = Reshape(x, flat)  n = LayerNormalization(a, v)  y = Reshape(n, back)",
        MAP,
    ),
    "Resize": (
        "y = Resize(x, , twice)",
        "a = Reshape(x, slices)  b = Resize(a, , plane)  c = Reshape(b, deep)  d = Resize(c, , depth) "
        "y = Reshape(d, grown)",
        "float[1,2,4,6,6] x",
    ),
    "MaxPool": (
        "y = MaxPool<kernel_shape = [2,2,2], strides = [2,2,2]>(x)",
        "a = Reshape(x, slices)  b = MaxPool<kernel_shape = [2,2], strides = [2,2]>(a)  c = Reshape(b, rows) "
        "d = MaxPool<kernel_shape = [2,1], strides = [2,1]>(c)  y = Reshape(d, pooled)",
        "float[1,2,4,6,6] x",
    ),
    "Compress": ("y = Compress<axis = 1>(x, yes)", "y = Gather<axis = 1>(x, some)", MAP),
}  # fmt: skip
CASES["DFT"] = ("y = DFT(x)", "a = Reshape(x, sixteen)  y = MatMul(a, dft)", "float[1,16,1] x")
CUT = {  # operator: what is refused; the remedy is to end the graph before it
    "ReduceProd": ("y = ReduceProd(x, axes)", MAP),
    "Det": ("y = Det(x)", "float[1,3,3] x"),
    "NonMaxSuppression": ("n = NonMaxSuppression(b, s, three)  y = Cast<to = 1>(n)", "float[1,8,4] b, float[1,2,8] s"),
    "NonZero": ("n = NonZero(x)  y = Cast<to = 1>(n)", MAP),
    "Unique": ("y = Unique(x)", MAP),
    "Loop": ("y = Loop(eight, , x)<body = b (int64 i, bool c, float[1,4,8,8] a) => (bool d, float[1,4,8,8] z) "
             "{ d = Identity(c)  z = Relu(a) }>", MAP),
    "Scan": ("y = Scan<num_scan_inputs = 1, body = b (float[4,8,8] a) => (float[4,8,8] z) { z = Relu(a) }>(x)", MAP),
}  # fmt: skip


def made(text, inputs):
    words = set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())
    return net(text, 20, inputs, **{name: value for name, value in STORED.items() if name in words})


def test_every_line_of_the_table_is_tried():
    assert remedies.REMEDIES.keys() == CASES.keys() | CUT.keys()


@needs_htp
@pytest.mark.parametrize("op", CASES)
def test_what_is_refused_is_taken_as_its_remedy_says(op):
    bad, good, inputs = CASES[op]
    found = check(made(bad, inputs))
    assert op in [r.op for r in found.refusals] and found.whole is False
    assert check(made(good, inputs)).whole is True


@needs_htp
@pytest.mark.parametrize("op", CUT)
def test_what_only_a_cut_helps_is_named(op):
    found = check(made(*CUT[op]))
    assert op in [r.op for r in found.refusals]
    assert next(r for r in found.refusals if r.op == op).remedy == remedies.REMEDIES[op].remedy


@needs_htp
def test_every_refused_node_is_named_between_nodes_that_are_taken():
    text = "a = Conv(x, k)  b = Softsign(a)  c = Conv(b, k)  d = Erf(c)  y = Conv(d, k)"
    found = check(made(text, MAP))
    assert [(r.op, r.output) for r in found.refusals] == [("Softsign", "b"), ("Erf", "d")]
    assert (found.nodes, found.whole) == (5, False)


@needs_htp
def test_where_nothing_compiles_the_nodes_are_found_by_trying_stretches():
    """Six axes on a Relu: the whole graph fails with 'Failed to finalize QNN graph' and names no node."""
    text = "a = Conv(x, k)  r = Reshape(a, wide)  q = Relu(r)  b = Reshape(q, back)  s = Softsign(b)  y = Conv(s, k)"
    found = check(made(text, MAP))
    assert "Failed to" in found.said
    assert found.refusals[-1].op == "Softsign"
    assert {r.why for r in found.refusals[:-1]} == {"its tensors have 6 axes and the HTP takes 5"}


@needs_htp
def test_doubles_and_sizes_that_nobody_knows_are_named_as_such():
    found = check(made("a = Relu(x)  y = Cast<to = 1>(a)", "double[1,5] x"))
    assert {r.why for r in found.refusals} == {"it computes in double, which the HTP does not have"}


@needs_htp
def test_what_prepare_mends_is_said_and_not_refused(cut):
    chain = "d = Div(x, two)  e = Erf(d)  s = Add(e, one)  m = Mul(x, s)  y = Mul(m, half)"
    model = net(chain, 13, "float[N,4,8,8] x", two=F(2**0.5), one=F(1), half=F(0.5))
    found = check(model)
    assert found.whole is True and not found.refusals and len(found.changes) == 3
    assert found.as_dict()["changes"] == found.changes
    assert check(cut).whole is True


def test_without_qnn_it_says_so_and_names_what_the_table_knows(monkeypatch):
    monkeypatch.setattr(targets, "quickest", lambda wanted: None)
    found = check(made("a = Softsign(x)  y = Relu(a)", MAP))
    assert found.whole is None and [r.op for r in found.refusals] == ["Softsign"]
    assert "no QNN" in found.target


def test_a_concat_of_boxes_and_scores_is_named_as_hard():
    boxes_and_scores = {spot.why for spot in check(assets.model()).hard}
    assert any("'output0' has one scale" in why for why in boxes_and_scores)
    alike = net("a = Relu(x)  y = Concat<axis = 1>(a, x)")
    apart = net("a = Mul(x, n)  y = Concat<axis = 1>(a, x)", n=F(0.01))
    assert check(alike).hard == [] and [spot.tensor for spot in check(apart).hard] == ["a"]


def test_hard_in_8_bits_are_wide_tensors_and_weights_of_very_different_channels():
    uneven = weights(64, 4) * F([1, 1, 0.002, 1])
    model = net("a = Mul(x, n)  b = Exp(a)  y = MatMul(b, k)", inputs="float[1,64] x", n=F(50), k=uneven)
    hard = {spot.tensor: spot.why for spot in check(model).hard}
    assert hard.keys() == {"b", "k"}
    assert "weights with one scale" in hard["k"] and hard["b"].startswith("Exp: ")
    gemm = net("a = Exp(x)  y = Gemm<transB = 1>(a, k)", inputs="float[1,64] x", k=np.ascontiguousarray(uneven.T))
    assert [spot.tensor for spot in check(gemm).hard] == ["k"]
    assert hard_spots._worst_channel(np.zeros((3, 2)), -1) == (np.inf, 1.0)
