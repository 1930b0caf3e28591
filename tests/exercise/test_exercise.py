"""What a learner's answer is told, each verdict against numbers by hand."""

import math

import numpy as np
import pytest

from helpers import exercise


@pytest.mark.parametrize(
    "yours, truth, unit, text",
    [
        (None, 0.25, "px", "No prediction yet: put your number in place of None above, run that cell, then this one."),
        (3, 3, "", "You said 3: exactly right."),
        (1.5, 1, "dB", "You said 1.5 dB, it is 1 dB: 50 % too high."),
        (0.5, 1, "", "You said 0.5, it is 1: 50 % too low."),
        (10, 2, "", "You said 10, it is 2: 5 times as much."),
        (0.25, 0, "px", "You said 0.25 px, it is 0 px: 0.25 px too high."),
    ],
)
def test_a_guess_is_set_beside_the_truth(yours, truth, unit, text):
    verdict = exercise.guess(yours, truth, unit)
    assert repr(verdict) == verdict.text == text
    assert bool(verdict) == verdict.passed == (yours is not None), "a guess that was made cannot be wrong"
    assert verdict.distance == (math.inf if yours is None else abs(yours - truth))


@pytest.mark.parametrize(
    "yours, expected, atol, passed, distance, text",
    [
        (None, 1, 0, False, math.inf, "Not tried yet: replace the `...` above."),
        (..., 1, 0, False, math.inf, "Not tried yet: replace the `...` above."),
        ([1, 2], [1, 2, 3], 0, False, math.inf, "Not yet: your shape is (2,), expected (3,)."),
        ([1, 2], [1, 2.5], 0.4, False, 0.5, "Not yet: off by 0.5."),
        ([1, 2], [1, 2.5], 0.5, True, 0.5, "Right, within 0.5."),
        (np.float32(2), 2, 0, True, 0, "Right."),
        ([], [], 0, True, 0, "Right."),
    ],
)
def test_an_answer_passes_within_its_tolerance(yours, expected, atol, passed, distance, text):
    verdict = exercise.check(yours, expected, atol)
    assert (bool(verdict), verdict.distance, repr(verdict)) == (passed, distance, text)


def test_a_hint_follows_only_what_is_not_right_yet():
    assert exercise.check(1, 2, hint="add one").text.endswith("Hint: add one")
    assert exercise.check(None, 2, hint="add one").text.endswith("Hint: add one")
    assert "Hint" not in exercise.check(2, 2, hint="add one").text
