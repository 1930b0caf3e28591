"""Pictures of one tensor: its range, its error, its channels."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from helpers import affine, calibrate, plot
from helpers.plot.tensor import method_colour

X = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
H = calibrate.Histogram().update(X)


def test_ranges_are_bars_from_rmin_to_rmax_in_the_methods_colours():
    bands = {name: method(H) for name, method in calibrate.METHODS.items()} | {"by hand": (-1.0, 2.0)}
    top, bottom = plot.ranges(H, bands, "all values").axes
    assert top.get_title() == "all values" and [t.get_text() for t in bottom.get_yticklabels()] == list(bands)
    for bar, (name, (low, high)) in zip(bottom.patches, bands.items(), strict=True):
        assert bar.get_x() == pytest.approx(low) and bar.get_x() + bar.get_width() == pytest.approx(high)
        wanted = calibrate.METHODS[name].colour if name in calibrate.METHODS else plot.GREY
        assert to_hex(bar.get_facecolor()).upper() == wanted.upper() == method_colour(name).upper()
    values, edges, _ = top.patches[0].get_data()
    assert values.sum() == len(X) and edges[0] <= X.min() and bottom.get_xscale() == "linear"
    assert plot.ranges(H, bands, "", symlog=True).axes[1].get_xscale() == "symlog"


def test_the_staircase_is_the_fake_quantization_and_its_error():
    qp = affine.choose_qparams(-1, 3)
    top, bottom = plot.staircase(qp, -2.0, 4.0).axes
    x, y = top.lines[1].get_data()
    np.testing.assert_array_equal(y, affine.fake_quantize(x, qp))
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), y - x)
    assert f"{qp.scale / 2:.4g}" in top.get_title() and f"code {qp.zero_point}" in top.lines[2].get_label()
    assert (x[0], x[-1]) == (-2, 4) and len(top.patches) == 2, "clipped on both sides"


def test_the_tradeoff_has_its_least_where_the_sum_has():
    (ax,) = plot.tradeoff(H, "uint4").axes
    ends, total = ax.lines[2].get_data()
    clipping, rounding = calibrate.expected_error(H, affine.choose_qparams(H.min, ends[50], "uint4"))
    assert total[50] == pytest.approx(clipping + rounding, rel=1e-6)
    dot = ax.lines[3]
    assert dot.get_xdata()[0] == ends[np.argmin(total)] and dot.get_ydata()[0] == total.min()
    assert ax.get_title().startswith("uint4") and f"least at {ends[np.argmin(total)]:.3g}" in [
        t.get_text() for t in ax.texts
    ]


def test_the_symmetric_tradeoff_moves_both_ends():
    (ax,) = plot.tradeoff(calibrate.Histogram().update(X - 1), "int4", symmetric=True).axes
    ends, total = ax.lines[2].get_data()
    assert ends[-1] == pytest.approx(-(X - 1).min())
    for end, found in zip(ends[::40], total[::40], strict=True):
        back = affine.fake_quantize(X - 1, affine.QParams(end / 7, 0, "int4"))
        assert found == pytest.approx(np.mean((X - 1 - back) ** 2), rel=0.02)


def test_channels_stand_largest_first_over_the_one_step():
    weight = np.float32([[0.5, -1], [127, 3], [0.1, 10]])
    (ax,) = plot.channels(weight, "conv").axes
    assert [bar.get_height() for bar in ax.patches] == [127, 10, 1]
    assert ax.lines[0].get_ydata()[0] == 1 and "conv reaches code 1 of 127" in ax.get_title()
    (ax,) = plot.channels(weight, "conv", 7).axes
    assert ax.lines[0].get_ydata()[0] == pytest.approx(127 / 7) and "reaches code 0 of 7" in ax.get_title()


def test_range_convergence_reads_each_running_sum():
    parts = [calibrate.Histogram().update(X[:k]) for k in (100, 1000, 20_000)]
    methods = {name: calibrate.METHODS[name] for name in ("minmax", "percentile")}
    (ax,) = plot.range_convergence(parts, {**methods, "moving_average": calibrate.moving_average}).axes
    assert [line.get_label() for line in ax.lines] == ["minmax", "percentile"], "an average needs the order of feeds"
    assert [list(line.get_ydata()) for line in ax.lines] == [[m(h)[1] for h in parts] for m in methods.values()]
    assert [to_hex(line.get_color()).upper() for line in ax.lines] == [m.colour for m in methods.values()]
    moved = [f"{name} {100 * (m(parts[2])[1] / m(parts[0])[1] - 1):+.0f} %" for name, m in methods.items()]
    assert ax.get_title() == f"From 1 to 3 pictures: {moved[0]}, {moved[1]}" and moved[0] != moved[1]
    assert "From" not in plot.range_convergence(parts[:1], methods).axes[0].get_title()
