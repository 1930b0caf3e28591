"""What a range is expected to cost against the error of the values themselves."""

import numpy as np
import pytest
from samples import histogram, samples

from helpers.affine import choose_qparams, fake_quantize
from helpers.calibrate import Histogram, RangeCost, expected_error
from helpers.error import split_error, sqnr_db


@pytest.mark.parametrize("dtype", ["uint8", "int4", "uint16"])
@pytest.mark.parametrize("kind", ["conv", "relu", "silu"])
def test_expected_error_is_the_error_of_the_values(kind, dtype):
    x = samples(kind)
    h = histogram(x)
    for part in (1, 0.8, 0.3):
        qp = choose_qparams(h.min * part, h.max * part, dtype)
        clipping, rounding = split_error(x, qp)
        width = h.edges[1] - h.edges[0]
        # relu's exact zeros are without error, but their bin counts as spread over its width
        assert expected_error(h, qp)[0] == pytest.approx(clipping, rel=0.03, abs=width**2 / 1e3)
        assert expected_error(h, qp)[1] == pytest.approx(rounding, rel=0.03, abs=width**2 / 5)


def test_expected_error_knows_where_the_values_end():
    h = histogram(np.append(np.linspace(0, 6, 1000), np.full(1000, 6.0)))  # 6 opens its bin, which reaches to 6 + w
    clipping, _ = expected_error(h, choose_qparams(0, 6))
    assert clipping < 1e-9


def test_range_cost_says_what_the_values_say():
    x = samples("conv")
    costs, qp = RangeCost(histogram(x)), choose_qparams(-4, 5)
    found, back = costs(qp), fake_quantize(x, qp)
    left, right = (qp.scale * (code - qp.zero_point) for code in (0, 255))
    outside = (x < left - qp.scale / 2) | (x > right + qp.scale / 2)
    assert (found["left"], found["right"]) == pytest.approx((left, right))
    assert (found["scale"], found["zero_point"]) == (qp.scale, qp.zero_point)
    assert found["clipped"] == pytest.approx(100 * outside.mean(), rel=0.02)
    assert found["mse"] == found["clipping"] + found["rounding"] == pytest.approx(np.mean((back - x) ** 2), rel=0.02)
    assert found["sqnr_db"] == costs.sqnr_db(qp) == pytest.approx(sqnr_db(x, back), abs=0.1)
    heights = np.frombuffer(costs.bars(-4, 5), np.float32)
    middle = -4 + 9 * (heights.argmax() + 0.5) / len(heights)
    assert heights.max() == 1 and heights.min() >= 0 and abs(middle) < 1, "most values lie around 0"
    with pytest.raises(ValueError):
        RangeCost(Histogram())
