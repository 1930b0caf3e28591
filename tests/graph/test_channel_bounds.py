"""A ReLU6 with a bound for each channel."""

import numpy as np
import pytest

from helpers import assets, graph, session

CLIP = "/blocks/blocks.0/expand/expand.2/Clip_output_0"


def outputs(model, tensors):
    feed = {"image": np.random.default_rng(0).random((1, 3, 64, 64), np.float32)}
    return session.load(graph.Model.of(model).with_outputs(tensors)).run(None, feed)


def test_each_channel_has_its_own_bound_and_all_6_change_nothing():
    model, bounds = assets.model("shapes_classifier"), np.linspace(0.1, 6, 64)
    bounded = graph.with_channel_bounds(model, {CLIP: bounds})
    before, after = outputs(model, [CLIP])[0], outputs(bounded, [CLIP])[0]
    np.testing.assert_array_equal(after, np.minimum(before, np.float32(bounds)[:, None, None]))
    assert (after != before).any()
    same = graph.with_channel_bounds(model, {CLIP: np.full(64, 6.0)})
    np.testing.assert_array_equal(outputs(same, ["scores"])[0], outputs(model, ["scores"])[0])


@pytest.mark.parametrize("name", ["image", "scores", "/blocks/blocks.0/expand/expand.0/Conv_output_0"])
def test_a_tensor_of_no_clip_is_named(name):
    with pytest.raises(ValueError, match=rf"'{name}' does not come from a Clip from 0 on"):
        graph.with_channel_bounds(assets.model("shapes_classifier"), {name: np.ones(64)})
