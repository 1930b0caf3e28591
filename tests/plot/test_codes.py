"""Pictures of weights as codes."""

import numpy as np
import pytest

from helpers import plot

WEIGHT = np.float32([[7, -7, 0.4, 3.2], [0.07, -0.01, 0.02, 0.03]])
EACH = np.array([1.0, 0.01])


def test_code_counts_are_shares_of_the_weights():
    left, right = plot.code_counts(WEIGHT, {"one": 1.0, "each": EACH}).axes
    heights = {round(bar.get_x() + 0.4): bar.get_height() for bar in left.patches}
    assert heights[0] == pytest.approx(62.5) and heights[-7] == heights[3] == heights[7] == 12.5
    assert sum(bar.get_height() for bar in right.patches) == pytest.approx(100)
    assert left.figure.get_suptitle() == "Code 0 takes 62 %, then 12 % of the weights"


def test_code_map_has_a_row_for_each_output_channel():
    left, right, _ = plot.code_map(WEIGHT, {"one": 1.0, "each": EACH}).axes
    assert left.images[0].get_array().tolist() == [[7, -7, 0, 3], [0, 0, 0, 0]]
    assert right.images[0].get_array().tolist() == [[7, -7, 0, 3], [7, -1, 2, 3]]
    assert left.get_title() == "one: 62 % are 0" and right.get_title() == "each: 12 % are 0"
