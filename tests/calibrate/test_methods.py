"""Range methods against slow transcriptions of their definitions."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import histogram, samples, values

from helpers.affine import choose_qparams
from helpers.calibrate import (
    METHODS,
    Histogram,
    entropy,
    expected_error,
    method_named,
    minmax,
    moving_average,
    mse,
    percentile,
    ranges,
)

DTYPES = ("uint8", "int8", "uint16", "int16", "uint4", "int4")


@pytest.mark.parametrize("value", [0.0, -0.0, 5.0, -3e38, 1e-45])
def test_constant_tensor_has_one_bin_and_a_range(value):
    h = histogram([value] * 7)
    assert h.counts.tolist() == [7] and h.edges[0] <= np.float32(value) < h.edges[1]
    assert minmax(h) == (np.float32(value),) * 2
    for method in METHODS.values():
        low, high = method(h)
        assert math.isfinite(low) and low <= high and choose_qparams(low, high).scale > 0
    assert "-0" not in repr(histogram([-0.0]))


def test_moving_average_follows_feed_order_not_update_order():
    h = Histogram().update([0.0, 20], feed=1).update([-10.0, 10], feed=0).update([-20.0, 40], feed=2)
    assert moving_average(h, 0.5) == (-12.5, 27.5)
    assert moving_average(h, 0) == (-20, 40)
    assert moving_average(h, 0.75) == pytest.approx((-10 * 0.5625 - 5, 10 * 0.5625 + 20 * 0.1875 + 10))
    assert moving_average(h) == pytest.approx((-10 * 0.81 - 2, 10 * 0.81 + 20 * 0.09 + 4))


@given(values, st.floats(0.001, 100), st.floats(0.001, 100))
def test_percentile_is_monotone_and_inside_minmax(x, p, q):
    h = histogram(x)
    (low, high), (inner_low, inner_high) = percentile(h, max(p, q)), percentile(h, min(p, q))
    slack = 1e-9 * (h.max - h.min)
    assert h.min <= low <= inner_low + slack and inner_high - slack <= high <= h.max
    assert percentile(h, 100) == minmax(h)


def test_percentile_lies_between_the_values_that_numpy_interpolates():
    x = np.sort(np.random.default_rng(1).standard_normal(200_000).astype(np.float32))
    h = histogram(x)
    width = h.edges[1] - h.edges[0]
    for p in (50, 99, 99.9):
        for found, q in zip(percentile(h, p), ((100 - p) / 200, (100 + p) / 200), strict=True):
            at = round(q * x.size)
            assert x[at - 1] - 2 * width <= found <= x[at] + 2 * width
            assert found == pytest.approx(np.quantile(x, q), abs=0.02)
    for p in (0, -1, 100.1, math.nan):
        with pytest.raises(ValueError, match="above 0 and up to 100"):
            percentile(h, p)


@settings(deadline=None, max_examples=60)
@given(values, st.sampled_from(DTYPES))
def test_mse_and_entropy_stay_inside_minmax_and_mse_is_never_worse(x, dtype):
    h = histogram(x)
    low, high = min(h.min, 0), max(h.max, 0)
    for method in (mse, entropy):
        a, b = method(h, dtype)
        assert low <= a <= b <= high and math.isfinite(a - b)
    if max(abs(h.min), abs(h.max)) > 1e-30:  # below, float32 scales run out of bits
        whole, best = (sum(expected_error(h, choose_qparams(*r, dtype))) for r in ((low, high), mse(h, dtype)))
        assert best <= whole


@pytest.mark.parametrize("dtype", ["uint8", "int4"])
@pytest.mark.parametrize("kind", ["conv", "relu", "silu", "stuck"])
def test_mse_finds_what_a_dense_search_finds(kind, dtype):
    h = histogram(samples(kind, 4000), 256)
    parts = 2.0 ** -np.arange(0, 9, 0.1)
    lows, highs = np.meshgrid(min(h.min, 0) * (parts if h.min < 0 else parts[:1]), h.max * parts)
    errors = sum(expected_error(h, choose_qparams(lows.ravel(), highs.ravel(), dtype, axis=0)))
    found = sum(expected_error(h, choose_qparams(*mse(h, dtype), dtype)))
    assert found <= errors.min() * 1.02
    assert found < errors[0] * (0.9 if dtype == "int4" and kind != "stuck" else 1.0001)


def test_a_stuck_neuron_ruins_minmax_and_mse_heeds_it_as_far_as_it_is_one_in_n():
    n = 3_000_000
    h = histogram(np.append(samples("conv", n), 1000))
    steps = {m.__name__: choose_qparams(*m(h)).scale for m in (minmax, percentile)}
    assert steps["minmax"] > 3.9 and steps["percentile"] < 0.2
    # The least of (1000 − T)²/n + T²/(12·255²), the one value's clipping against everyone's rounding.
    assert mse(h)[1] == pytest.approx(1000 * 12 * 255**2 / (n + 12 * 255**2), rel=0.03)
    assert mse(h, "uint4")[1] < 10


def test_the_table_of_methods_gives_what_its_functions_give():
    h = histogram(samples("silu"))
    plain = {"minmax": minmax, "moving_average": moving_average, "percentile": percentile}
    for name, method in METHODS.items():
        assert method.name == name and method.label and re.fullmatch("#[0-9A-F]{6}", method.colour)
        for dtype in ("uint8", "int8"):
            expected = plain[name](h) if name in plain else {"mse": mse, "entropy": entropy}[name](h, dtype)
            assert method(h, dtype) == method.range(h, dtype) == expected
    assert METHODS["mse"](h, "uint4") != METHODS["mse"](h, "uint8"), "the dtype is passed on"
    assert len({m.colour for m in METHODS.values()}) == len({m.label for m in METHODS.values()}) == len(METHODS)


def test_ranges_ask_one_method_for_every_tensor():
    histograms = {"a": histogram(samples("silu")), "b": histogram(samples("conv", seed=1))}
    assert ranges(histograms) == {t: mse(h) for t, h in histograms.items()}
    assert ranges(histograms, "entropy", "uint4") == {t: entropy(h, "uint4") for t, h in histograms.items()}
    assert ranges(histograms, lambda h, dtype: (h.min, dtype)) == {t: (h.min, "uint8") for t, h in histograms.items()}


def test_a_method_is_found_by_name_or_is_a_function():
    assert method_named("mse") is METHODS["mse"] and method_named(minmax) is METHODS["minmax"]
    assert method_named(wide := lambda h, dtype: (-1.0, 1.0)) is wide
    with pytest.raises(ValueError, match=r"method 'best' is unknown; choose one of minmax, .*entropy\.") as caught:
        method_named("best")
    assert "\n" not in str(caught.value)
