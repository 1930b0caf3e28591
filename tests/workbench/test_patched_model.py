"""A graph that changes under an open session, for a model that is no detector."""

import numpy as np
import pytest
from small_models import classifier

from helpers import calibrate, qdq, tasks
from helpers.workbench.patched_model import PatchedModel


@pytest.fixture
def patched(tmp_path):
    model, inputs = classifier(tmp_path)
    task, paths = tasks.recognise(model), sorted(inputs.iterdir())
    fp32 = task.prepare(model, tmp_path / "fp32.onnx")
    ranges = calibrate.ranges(calibrate.observe(fp32, task.feeds(paths, fp32)), "minmax")
    return PatchedModel(fp32, ranges, tmp_path, task.runner), paths[1], ranges


def test_one_session_outlives_a_change_and_gives_what_a_new_one_gives(patched, tmp_path):
    model, path, ranges = patched
    runner, before = model.runner(), model.runner().results(path)
    low, high = model.ranges["r"]
    model.change({"r": (low / 2, high / 3)})
    after = model.runner().results(path)
    assert model.runner() is runner and not np.array_equal(before["y"], after["y"])
    every = ranges | {t: model.ranges[one] for one, group in model.shared_scale.items() for t in group}
    fresh = qdq.quantize_model(model.fp32, tmp_path / "fresh.onnx", every)
    assert np.array_equal(tasks.named("tensors").runner(fresh).results(path)["y"], after["y"])


def test_a_change_is_all_or_nothing(patched):
    model, *_ = patched
    before = model.proto.SerializeToString(deterministic=True), dict(model.ranges)
    with pytest.raises(ValueError, match="more than 32 bits"):
        model.change({"r": (-1, 1), "x": (0, 1e-30)})
    assert (model.proto.SerializeToString(deterministic=True), model.ranges) == before


def test_16_bits_and_one_scale_for_a_weight_quantize_anew(patched):
    model, path, _ = patched
    runner = model.runner()
    model.change({}, a16=["x"], per_channel=False)
    params = qdq.list_qparams(model.proto)
    assert params["x"].dtype == "uint16" and params["w"].axis is None and model.a16 == {"x"}
    assert model.runner() is not runner and np.isfinite(model.runner().results(path)["y"]).all()
