"""Activation functions as numbers: one place for every room that computes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def sigmoid(x: ArrayLike) -> np.ndarray:
    """σ(x) = 1/(1 + e⁻ˣ) in float64, elementwise.

    >>> float(sigmoid(0))
    0.5
    """
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def silu(x: ArrayLike) -> np.ndarray:
    """SiLU(x) = x·σ(x) = x/(1 + e⁻ˣ) in float64, elementwise; below −80, where it is 0 for every purpose, by e⁸⁰.

    >>> float(silu(0))
    0.0
    """
    x = np.asarray(x, np.float64)
    return x / (1 + np.exp(-np.clip(x, -80, None)))
