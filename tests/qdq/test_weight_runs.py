"""A graph as a function of its weights."""

import numpy as np
import pytest

from helpers import assets, graph, qdq, targets, vision


def test_it_runs_what_a_graph_with_these_weights_runs(cut):
    model, feed = graph.Model.of(cut), next(iter(vision.Feeds(assets.images()[:1], cut)))
    name, weight = next(iter(model.weights.items()))
    run = qdq.weights_to_outputs(cut, [feed])
    changed = targets.load(model.with_weights({name: 2 * weight})).run(None, feed)
    np.testing.assert_allclose(run({name: 2 * weight}), np.concatenate([o.ravel() for o in changed]), atol=1e-4)
    assert not np.allclose(run({name: 2 * weight}), run({}), atol=1e-2)


def test_a_name_that_is_no_weight_is_refused(cut):
    with pytest.raises(ValueError, match="'images' is none of its weights"):
        qdq.weights_to_outputs(cut, [])({"images": np.zeros(1)})
