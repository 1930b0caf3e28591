"""The affine map: its own laws, and the same bits as ONNX's QuantizeLinear and DequantizeLinear."""

from fractions import Fraction

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.quant_utils import QuantType, compute_scale_zp, get_qmin_qmax_for_qType

from helpers.affine import (
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    qrange,
    quantize,
    quantize_multiplier,
    requantize,
)

DTYPES = ["uint8", "int8", "uint16", "int16", "uint4", "int4"]
dtypes = st.sampled_from(DTYPES)
ends = st.floats(-1e6, 1e6, width=32)
ranges = st.tuples(ends, ends).map(sorted)
SHAPE = (20, 50, 25, 40)  # 10⁶ values


def qdq_model(qp: QParams, shape, op: str) -> ort.InferenceSession:
    """One QuantizeLinear or DequantizeLinear node in ONNX Runtime; its codes pass as int32, 4-bit ones too."""
    kind = getattr(TensorProto, qp.dtype.upper())
    scale = numpy_helper.from_array(np.asarray(qp.scale, np.float32), "s")
    zero = helper.make_tensor("z", kind, np.shape(qp.zero_point), np.atleast_1d(qp.zero_point).tolist())
    axis = {} if qp.axis is None else {"axis": qp.axis}
    node = helper.make_node(op, ["x" if op == "QuantizeLinear" else "q", "s", "z"], ["y"], **axis)
    if op == "QuantizeLinear":
        nodes = [node, helper.make_node("Cast", ["y"], ["out"], to=TensorProto.INT32)]
        given, out = TensorProto.FLOAT, TensorProto.INT32
    else:
        nodes = [helper.make_node("Cast", ["x"], ["q"], to=kind), node]
        given, out = TensorProto.INT32, TensorProto.FLOAT
    x, y = (
        helper.make_tensor_value_info("x", given, shape),
        helper.make_tensor_value_info(nodes[-1].output[0], out, shape),
    )
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [scale, zero]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_million_values_have_the_bits_of_onnx(dtype, axis):
    rng = np.random.default_rng(DTYPES.index(dtype))
    count = 1 if axis is None else SHAPE[axis]
    (qmin, qmax), scale = qrange(dtype), rng.uniform(1e-3, 2, count).astype(np.float32)
    zero = rng.integers(qmin, qmax + 1, count)
    qp = QParams(*((scale, zero) if axis is not None else (scale[0], zero[0])), dtype, axis)
    x = rng.normal(0, (qmax - qmin) * 0.6, SHAPE).astype(np.float32)  # a part of it saturates
    x.ravel()[::3] = rng.integers(2 * qmin, 2 * qmax, x.ravel()[::3].size) + 0.5  # times S: ties, or nearly
    x = x * np.float32(np.median(scale))
    codes = quantize(x, qp)
    assert np.array_equal(codes, qdq_model(qp, SHAPE, "QuantizeLinear").run(None, {"x": x})[0])
    assert {qmin, qmax} <= set(np.unique(codes).tolist())
    real = qdq_model(qp, SHAPE, "DequantizeLinear").run(None, {"x": codes.astype(np.int32)})[0]
    assert np.array_equal(dequantize(codes, qp).view(np.uint32), real.view(np.uint32))


def test_a_tie_goes_to_the_even_code():
    assert quantize([0.5, 1.5, 2.5, -0.5, -1.5], QParams(1, 0, "int8")).tolist() == [0, 2, 2, 0, -2]


@given(ranges, dtypes, st.booleans())
def test_zero_is_exact_and_the_range_is_covered(r, dtype, symmetric):
    qp = choose_qparams(*r, dtype, symmetric)
    assert dequantize(qp.zero_point, qp) == 0.0 and quantize(0.0, qp) == qp.zero_point
    low, high = (dequantize(code, qp) for code in qrange(dtype))
    slack = 0.501 * qp.scale + 2e-7 * max(abs(r[0]), abs(r[1]))  # half a step, and float32's own rounding
    assert low <= min(r[0], 0) + slack and high >= max(r[1], 0) - slack


@given(ranges, dtypes, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_rounding_costs_half_a_step_at_most_and_never_twice(r, dtype, places):
    qp = choose_qparams(*r, dtype)
    low, high = min(r[0], 0), max(r[1], 0)
    x = np.sort(np.float32([low + p * (high - low) for p in places]))
    once = fake_quantize(x, qp)
    # Zero's own rounding may shift the grid by half a step, so an end may lie that much beyond it.
    assert np.all(np.abs(once - x) <= 1.01 * qp.scale)
    inside = (x >= dequantize(qrange(dtype)[0], qp)) & (x <= dequantize(qrange(dtype)[1], qp))
    assert np.all(np.abs(once - x)[inside] <= 0.5 * qp.scale + 1e-6 * np.abs(x[inside]))
    assert np.array_equal(fake_quantize(once, qp), once)
    assert np.all(np.diff(once) >= 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_code_survives_the_round_trip(dtype):
    codes = np.arange(qrange(dtype)[0], qrange(dtype)[1] + 1)
    assert np.array_equal(quantize(dequantize(codes, qp := QParams(0.037, codes[3], dtype)), qp), codes)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_per_axis_is_per_tensor_slice_by_slice(axis):
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    other = tuple(a for a in range(3) if a != axis % 3)
    qp = choose_qparams(x.min(other), x.max(other), "int8", axis=axis)
    for k, (part, whole) in enumerate(zip(np.moveaxis(x, axis, 0), np.moveaxis(quantize(x, qp), axis, 0), strict=True)):
        assert np.array_equal(quantize(part, QParams(qp.scale[k], qp.zero_point[k], "int8")), whole)


@given(ranges, st.sampled_from(["uint8", "int8", "uint16", "int16"]), st.booleans())
def test_the_choice_is_onnx_runtimes(r, dtype, symmetric):
    kind = QuantType.from_string("Q" + dtype.replace("int", "Int").replace("uI", "UI"))
    qmin, qmax = get_qmin_qmax_for_qType(kind.tensor_type, symmetric=symmetric)
    low, high = np.float32(min(r[0], 0)), np.float32(max(r[1], 0))
    zero, scale = compute_scale_zp(low, high, qmin, qmax, symmetric=symmetric)
    ours = choose_qparams(low, high, dtype, symmetric)
    if high - low > 1e-30:  # below that ONNX Runtime's own degenerate case differs from ours by design
        assert ours.scale == pytest.approx(float(scale), rel=1e-6) and ours.zero_point == int(zero)


@given(st.floats(2.0**-31, 2.0**30, exclude_max=True))
def test_a_multiplier_is_exact_to_31_bits(real):
    mantissa, shift = quantize_multiplier(real)
    assert 2**30 <= mantissa < 2**31
    assert abs(Fraction(mantissa) * Fraction(2) ** (shift - 31) - Fraction(real)) <= Fraction(real) / 2**31


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), st.floats(1e-6, 1), st.integers(-128, 127))
def test_requantize_rounds_the_exact_product_once(acc, real, zero):
    mantissa, shift = quantize_multiplier(real)
    exact = [Fraction(a) * mantissa * Fraction(2) ** (shift - 31) for a in acc]
    expected = [min(max(int((e + Fraction(1, 2)) // 1) + zero, -128), 127) for e in exact]
    assert requantize(acc, mantissa, shift, zero, "int8").tolist() == expected


def test_requantize_takes_one_multiplier_per_channel():
    acc = np.array([[100, 200], [100, 200]])
    mantissa, shift = quantize_multiplier(np.array([[0.5], [0.25]]))
    assert requantize(acc, mantissa, shift, 0, "uint8").tolist() == [[50, 100], [25, 50]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: qrange("int7"), "dtype 'int7' is unknown"),
        (lambda: QParams(0.0, 0, "int8"), "scale must be positive and finite"),
        (lambda: QParams(float("nan"), 0, "int8"), "scale must be positive and finite"),
        (lambda: QParams(1e-60, 0, "int8"), "scale must be positive and finite in float32"),
        (lambda: QParams(1.0, 200, "int8"), "zero_point 200 is no code of int8"),
        (lambda: QParams(1.0, 0.5, "int8"), "zero_point 0.5 is no code"),
        (lambda: QParams([1.0, 2.0], [0, 0], "int8"), "scale has shape"),
        (lambda: QParams(1.0, 0, "int8", axis=0), "scale has shape"),
        (lambda: QParams([1.0, 2.0], [0], "int8", axis=0), "zero_point has shape"),
        (lambda: choose_qparams(2, 1), "rmin ≤ rmax"),
        (lambda: choose_qparams(0, np.inf), "two finite numbers"),
        (lambda: quantize(np.zeros((2, 3)), QParams([1.0] * 4, [0] * 4, "int8", 1), name="w"), "tensor 'w' has shape"),
        (
            lambda: quantize([[0, np.nan], [np.inf, 1]], QParams(1.0, 0, "int8"), name="act"),
            "'act' holds 1 NaN and 1 inf",
        ),
        (lambda: quantize([-np.inf], QParams(1.0, 0, "int8")), r"first at index \(0,\)"),
        (lambda: quantize_multiplier(0.0), "multiplier 0.0 is outside"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
