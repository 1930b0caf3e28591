"""Tensors to take histograms of."""

import numpy as np
from hypothesis import strategies as st

from helpers.calibrate import (
    Histogram,
)

values = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40)


def histogram(x, bins=2048):
    return Histogram(bins).update(np.asarray(x, np.float32))


def samples(kind, n=40_000, seed=0):
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32) * 3
    return {"conv": x, "relu": np.maximum(x, 0), "silu": x / (1 + np.exp(-x)), "stuck": np.append(x, 1000)}[kind]
