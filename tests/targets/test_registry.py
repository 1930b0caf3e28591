"""Targets find themselves, rank themselves, and say why they are not here."""

import pytest

from helpers import targets
from helpers.targets import Target, target


def test_every_file_with_a_target_is_found_and_all_that_asks_is_answered():
    found = targets.registry()
    assert list(found) == ["cpu", "integer", "htp"], "by order, the quickest of equal codes first"
    assert all(t.name == name and t.label and t.where and t.dtypes for name, t in found.items())
    assert [t.runs_floats for t in found.values()] == [True, False, False]
    assert [t.npu_codes for t in found.values()] == [False, True, True]
    assert [t.proves_placement for t in found.values()] == [False, False, True]


def test_the_targets_of_this_machine_are_those_that_are_not_unavailable(monkeypatch):
    here = targets.targets()
    assert {"cpu", "integer"} <= set(here) and all(line == targets.get(name).describe() for name, line in here.items())
    monkeypatch.setattr(type(targets.get("integer")), "unavailable", lambda self: "target 'integer' is not here.")
    assert list(targets.targets()) == [name for name in here if name != "integer"]
    with pytest.raises(RuntimeError, match="target 'integer' is not here"):
        targets.load(__import__("helpers").assets.model(), "integer")


def test_get_names_what_there_is():
    assert targets.get("cpu").name == "cpu"
    with pytest.raises(ValueError, match="target 'gpu' is unknown; this machine has: cpu, integer") as caught:
        targets.get("gpu")
    assert "\n" not in str(caught.value)


def test_quickest_is_the_first_by_order_that_is_wanted_and_here(monkeypatch):
    class Slow(Target):
        name, label, where, order = "slow", "slow", "elsewhere", 0
        dtypes, npu_codes = frozenset({"uint8", "uint16"}), True

        def describe(self):
            return "slow"

    class Absent(Slow):
        name, order = "absent", -1

        def unavailable(self):
            return "not here"

    every = {t.name: t for t in (Absent(), Slow())} | {"integer": targets.get("integer")}
    monkeypatch.setattr(target, "registry", lambda: every)
    assert targets.quickest(lambda t: t.npu_codes).name == "slow"
    assert targets.quickest(lambda t: not t.npu_codes) is None


def test_a_target_that_says_nothing_is_here_and_must_be_written():
    class Bare(Target):
        pass

    bare = Bare()
    assert bare.unavailable() is None and bare.simulator(None) is None
    for call in (bare.describe, lambda: bare.open("model.onnx")):
        with pytest.raises(NotImplementedError):
            call()
