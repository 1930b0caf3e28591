"""The picture of a wrong SiLU table."""

import numpy as np
import pytest

from helpers import exercise
from helpers.exercise.build import judge

SILU = exercise.build_named("lookup.silu")


def test_a_wrong_table_is_drawn_where_it_differs():
    def wrong(*arguments):
        table = SILU.reference(*arguments).astype(int)
        table[7] += 2
        return table

    (ax,) = judge(SILU, wrong).figure.axes
    assert [round(bar.get_x() + 0.5) for bar in ax.patches if bar.get_height()] == [7]
    assert ax.get_title().startswith("First difference at code 7 of x")


@pytest.mark.parametrize("answer", [np.zeros(3), "no"])
def test_what_is_no_table_sees_the_right_one(answer):
    (ax,) = judge(SILU, lambda *arguments: answer).figure.axes
    assert len(ax.lines) == 1 and ax.get_title() == "The right table: 256 codes"
