"""The chapter's own rounding is the one that the course's recipe uses, and the toy search knows its table."""

import numpy as np

from helpers import repair
from helpers.exercise import build_named
from helpers.exercise.builds.search import Measured


def shares(second):
    """As chapter 10 has it."""
    damped = second + 0.01 * np.diag(second).mean() * np.eye(len(second))
    root = np.linalg.cholesky(np.linalg.inv(damped)).T
    return -root / np.diag(root)[:, None]


def test_rounding_by_shares_is_the_recipe_s():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12))
    second = x.T @ x / len(x)
    loudest = np.argsort(-np.diag(second))
    second = second[np.ix_(loudest, loudest)]  # the recipe begins with the loudest input, the chapter with the first
    weight, scale = rng.standard_normal((5, 12)), rng.uniform(0.2, 0.4, 5)
    ours = build_named("repair.round_rows").reference(weight, scale, shares(second))
    theirs = repair.round_rows(weight, scale, second, dtype="int4")
    assert np.array_equal(ours, theirs)
    assert not np.array_equal(ours, np.clip(np.rint(weight / scale[:, None]), -8, 7))


def test_a_table_of_choices_prints_its_rows():
    table = Measured({"": 10, "a": 7, "b": 8, "a+b": 5.25})
    assert (table([]), table(["b", "a"])) == (10, 5.25)
    assert repr(table) == "{none: 10, a: 7, b: 8, a+b: 5.25}"
    assert table == Measured({"": 10, "a": 7, "b": 8, "b+a": 5.25}) != Measured({"": 10})
