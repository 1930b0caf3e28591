"""Memory: what looks at every tensor of a model holds one part of it, and says the same numbers."""

import numpy as np
import onnx
import onnx.parser
import pytest

from helpers import assets, calibrate, qdq, repair, vision
from helpers.graph import Model
from helpers.qdq import attribution, parts
from helpers.repair import rounding

CHAIN = """<ir_version: 8, opset_import: ["": 17]> g (float[4] x, bool c) => (float[4] y) {
    a = Relu(x)  b = Neg(a)  d = Add(a, b)  e = If(c) <
        then_branch = t () => (float[4] p) { p = Abs(b) }, else_branch = f () => (float[4] q) { q = Neg(a) } >
    y = Add(e, d) }"""


@pytest.mark.parametrize("options", [{}, {"isolated": True}, {"only": "weights"}, {"only": "activations"}])
def test_layers_in_groups_have_the_sqnr_of_all_at_once(cut, int8, monkeypatch, options):
    feeds = vision.Feeds(assets.images("calibration")[:1], cut)
    monkeypatch.setattr(attribution, "_HELD", 1 << 40)
    whole = qdq.layer_sqnr(cut, int8, feeds, **options)
    monkeypatch.setattr(attribution, "_HELD", 6 << 20)  # a few groups
    assert list(qdq.layer_sqnr(cut, int8, feeds, **options).items()) == list(whole.items())


def test_groups_of_layers_stay_below_the_budget(cut, int8, monkeypatch):
    made = []

    class Spy(parts.Parts):
        def __call__(self, feed):
            for found in super().__call__(feed):
                made.append(sum(x.nbytes for x in found.values()))
                yield found

    monkeypatch.setattr(attribution, "Parts", Spy)
    monkeypatch.setattr(attribution, "_HELD", 8 << 20)
    found = qdq.layer_sqnr(cut, int8, vision.Feeds(assets.images("calibration")[:1], cut))
    sizes = parts.tensor_bytes(Model.of(cut))
    assert max(made) <= 4 << 20 < sum(made) / 2, "each side has half of the budget, and all do not fit"
    assert sum(made) == 2 * sum(sizes[t] for t in found)


def test_every_node_runs_once_and_branches_see_what_earlier_parts_made():
    model = Model(onnx.parser.parse_model(CHAIN))
    look = parts.Parts(model, [["a"], ["d"], ["y"], ["x", "b"]])
    assert sorted(k for part in look.nodes for k in part) == list(range(5))
    x = np.float32([-1, 2, -3, 4])
    made = [dict(found) for found in look({"x": x, "c": np.array(True)})]
    assert [sorted(found) for found in made] == [["a"], ["d"], ["y"], ["b", "x"]]
    np.testing.assert_array_equal(made[2]["y"], np.maximum(x, 0))
    np.testing.assert_array_equal(made[3]["b"], -np.maximum(x, 0))
    np.testing.assert_array_equal(made[3]["x"], x)


def test_rounding_holds_one_batch_of_moments_and_no_second_copy_of_the_model(cut, int8, tmp_path, monkeypatch):
    """What `input_moments` returns is given up one by one; the float model is not kept while codes are searched."""
    left, moments = [], rounding.input_moments

    def spied(*args, **options):
        left.append(moments(*args, **options))
        assert [len(held) for held in left[:-1]] == [0] * (len(left) - 1), "all earlier ones are let go"
        return left[-1]

    monkeypatch.setattr(rounding, "input_moments", spied)
    monkeypatch.setattr(rounding, "_HELD", 1 << 22)
    repair.round_adaptively(cut, int8, vision.Feeds(assets.images("calibration")[:1], cut), tmp_path / "r.onnx")
    assert len(left) > 2
    assert [len(held) for held in left] == [0] * len(left)


def test_moments_of_a_part_are_those_of_the_whole_graph(cut):
    feeds = vision.Feeds(assets.images("calibration")[:1], cut)
    name = next(n.input[1] for n in Model.of(cut).nodes[40:] if n.op_type == "Conv")
    alone = repair.input_moments(cut, feeds, only=[name])
    assert list(alone) == [name]
    weights = Model.of(cut).constants[name]
    assert alone[name][1].shape == (weights[0].size,) * 2
    tensor = next(n.input[0] for n in Model.of(cut).nodes if n.op_type == "Conv" and n.input[1] == name)
    assert calibrate.observe(cut, feeds, [tensor])[tensor].max >= alone[name][0].max()
