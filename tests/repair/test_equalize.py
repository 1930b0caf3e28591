"""Channels levelled across two convolutions."""

import numpy as np
import pytest
from small_models import convs, run

from helpers import repair
from helpers.graph import constants, read_model


def test_equalize_levels_the_channels_and_changes_nothing_else(tmp_path):
    path = convs(tmp_path, "h = Relu(a)")
    out = repair.equalize(path, tmp_path / "equal.onnx")
    np.testing.assert_allclose(run(out), run(path), rtol=1e-4, atol=1e-4)
    w = constants(read_model(out))
    np.testing.assert_allclose(np.abs(w["w1"]).max((1, 2, 3)), np.abs(w["w2"]).max((0, 2, 3)), rtol=1e-5)


def test_equalize_refuses_silu(tmp_path):
    with pytest.raises(ValueError, match="SiLU does not let a scale through"):
        repair.equalize(convs(tmp_path, "s = Sigmoid(a) h = Mul(a, s)"), tmp_path / "equal.onnx")
    assert not (tmp_path / "equal.onnx").exists()
