"""Error measures: their values by hand, and the split that must add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import error
from helpers.affine import QParams, choose_qparams, fake_quantize, qrange

values = st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=50)


@given(values, st.floats(0.01, 3), st.integers(0, 15), st.sampled_from(["uint8", "uint4"]))
def test_clipping_and_rounding_add_up_to_all(x, scale, zero, dtype):
    qp = QParams(scale, zero, dtype)
    clipping, rounding = error.split_error(x, qp)
    total = error.mse(np.float32(x), fake_quantize(x, qp))
    assert clipping + rounding == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert 0 <= rounding <= qp.scale**2 / 4 * 1.001
    low, high = (qp.scale * (c - zero) for c in qrange(dtype))
    if min(x) >= low and max(x) <= high:
        assert clipping == 0


def test_split_error_per_axis():
    x = np.float32([[0.25, 17.0], [0.5, 34.0]])
    assert error.split_error(x, QParams([1.0, 2.0], [0, 0], "uint4", 0)) == (5.0, 0.078125)


def test_sqnr_gains_6_db_a_bit():
    x = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    gains = [error.sqnr_db(x, fake_quantize(x, choose_qparams(-1, 1, t))) for t in ("uint4", "uint8", "uint16")]
    assert gains[1] - gains[0] == pytest.approx(4 * 6.02, abs=0.6)
    assert gains[2] - gains[1] == pytest.approx(8 * 6.02, abs=0.5)


def test_the_corners():
    assert error.sqnr_db([1.0], [1.0]) == np.inf and error.sqnr_db([0.0], [1.0]) == -np.inf
    assert error.cosine([0.0], [0.0]) == 1 and error.cosine([1.0, 0.0], [0.0, 1.0]) == 0
    assert error.cosine([1.0, 2.0], [-1.0, -2.0]) == pytest.approx(-1)
    assert error.mse(np.float32([1e20]), np.float32([0])) == pytest.approx(1e40)  # float64 inside


def test_codes_do_not_wrap():
    a, b = np.array([0, 255], np.uint8), np.array([255, 0], np.uint8)
    assert error.lsb_diff(a, b).tolist() == [-255, 255]


@pytest.mark.parametrize("function", [error.mse, error.sqnr_db, error.cosine, error.lsb_diff])
def test_unequal_shapes_are_refused(function):
    with pytest.raises(ValueError, match="cannot be compared"):
        function([1, 2], [1])
    with pytest.raises(ValueError, match="cannot be compared"):
        function([], [])
