"""Pictures of integer arithmetic: shares, borders, widths of sums."""

import numpy as np
import pytest

from helpers import plot


def test_lsb_histogram_shows_shares_and_puts_the_rest_at_the_ends():
    difference = np.array([0] * 6 + [1, -1, 9, -20])
    fig = plot.lsb_histogram({"one": difference, "none": np.zeros(4, int)}, "steps")
    heights = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in fig.axes[0].patches}
    assert {round(x): h for x, h in heights.items() if h} == {-6: 0.1, -1: 0.1, 0: 0.6, 1: 0.1, 6: 0.1}
    assert fig.axes[0].get_title() == "one: 60.0 % equal" and fig.axes[1].get_title() == "none: 100.0 % equal"
    assert fig.get_suptitle() == "steps"


def test_the_pipeline_writes_each_number_over_what_was_done():
    (ax,) = plot.pipeline({"sum": "1234", "× M": "61.7", "+ Z": "62"}, "one output").axes
    said = [t.get_text() for t in ax.texts if t.get_text()]
    assert said == ["1234", "sum", "61.7", "× M", "62", "+ Z"] and ax.get_title() == "one output"


def test_near_half_counts_distances_of_all_and_of_the_different():
    real, different = np.array([1.0, 2.5, 3.5, -0.25]), np.array([False, True, True, False])
    (ax,) = plot.near_half(real, different).axes
    both, some = ([bar.get_height() for bar in c] for c in ax.containers)
    assert sum(both) == 4 and sum(some) == some[0] == both[0] == 2, "both lie on the border"
    assert both[25] == 1 and both[-1] == 1, "¼ and ½ away"


def test_accumulators_are_dots_of_length_against_bits():
    (ax,) = plot.accumulators({"a": 27, "b": 1152}, {"b": 26.5, "a": 21}).axes
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[27, 21], [1152, 26.5]])
    assert [line.get_ydata()[0] for line in ax.lines] == [16, 32]
    assert [t.get_text() for t in ax.texts] == ["int16", "int32"] and ax.get_xlabel() == "products in one sum"
    assert pytest.approx(ax.get_ylim()) == (14, 33)
