"""Ranges that know what follows: by least error after a SiLU, a softmax, a threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers import calibrate
from helpers.affine import choose_qparams, dequantize, qrange
from helpers.calibrate import Histogram
from helpers.graph import Model, ModelLike, float_model
from helpers.graph.activations import silu
from helpers.tasks import recognise


def silu_blocks(model: ModelLike) -> list[tuple[str, str, str]]:
    """The tensors (x, σ(x), x·σ(x)) of each SiLU behind a convolution, in graph order.

    >>> from helpers import assets
    >>> silu_blocks(assets.model())[0][0]
    '/model.0/conv/Conv_output_0'
    """
    nodes = Model.of(model).nodes
    convs = {n.output[0] for n in nodes if n.op_type == "Conv"}
    gates = {n.output[0]: n.input[0] for n in nodes if n.op_type == "Sigmoid"}
    products = [n for n in nodes if n.op_type == "Mul"]
    blocks = [(gates[t], t, n.output[0]) for n in products for t in n.input if t in gates and gates[t] in n.input]
    return [b for b in blocks if b[0] in convs]


def silu_range(h: Histogram, dtype: str = "uint8", clipping: float = 4.0) -> tuple[float, float]:
    """The range of x with the least error of SiLU(x): min E[c·(f(Q(x)) − f(x))²], f(x) = x·σ(x).

    f is flat far below zero, so the lower end may be clipped where x itself could not spare it. c is `clipping` for
    values outside the range, 1 inside: rounding errors average out in the next convolution, clipping errors add up,
    since they hit the same channels in the same direction at every place.

    >>> h = calibrate.Histogram().update(np.random.default_rng(0).normal(-20, 10, 10_000))
    >>> calibrate.mse(h)[0] < -40 and -16 < silu_range(h)[0]
    True
    """
    low, high = calibrate.minmax(h)
    qmin, qmax = qrange(dtype)
    if qmax - qmin > 255:
        return low, high

    edges = h.edges
    x, weight = np.clip((edges[1:] + edges[:-1]) / 2, low, high), h.counts / h.n
    true = silu(x)
    lows = np.unique(np.maximum(min(low, 0), -np.geomspace(1.3, 32, 40)))
    highs = max(high, 1e-3) * 2 ** -np.arange(0, 3, 0.1)

    def error(i: int, j: int) -> float:
        qp = choose_qparams(lows[i], highs[j], dtype)
        reals = dequantize(np.arange(qmin, qmax + 1), qp).astype(np.float64)
        codes = np.clip(np.rint(x / qp.scale) + qp.zero_point, qmin, qmax).astype(int) - qmin
        heavy = np.where((x < reals[0]) | (x > reals[-1]), clipping, 1)
        return (weight * heavy) @ (silu(reals)[codes] - true) ** 2

    def least(rows: range, columns: range) -> tuple[int, int]:
        pairs = [(i, j) for i in rows for j in columns]
        return min(pairs, key=lambda pair: error(*pair))

    i, j = least(range(0, len(lows), 4), range(0, len(highs), 4))  # coarsely, then around it
    i, j = least(range(max(i - 3, 0), min(i + 4, len(lows))), range(max(j - 3, 0), min(j + 4, len(highs))))
    return float(lows[i]), float(highs[j])


def functional_ranges(
    fp32: ModelLike, histograms: Mapping[str, Histogram], clipping: float = 4.0
) -> dict[str, tuple[float, float]]:
    """Ranges {tensor: (rmin, rmax)} by least error after what follows, not of the tensor itself.

    A SiLU's input by `silu_range` with this `clipping`, σ in 0…1, inputs within 0…1 (images) in 0…1, outputs as the
    model's task says (`Task.output_ranges`). The rest by `calibrate.mse`. No labels. Raises ValueError for a quantized
    model and as `calibrate.mse` does.

    >>> from helpers import assets, tasks
    >>> feeds = tasks.Feeds(assets.images()[:1], assets.model())
    >>> functional_ranges(assets.model(), calibrate.observe(assets.model(), feeds))["images"]
    (0.0, 1.0)
    """
    model = float_model(fp32)
    ranges = calibrate.ranges(histograms)
    for x, gate, _ in silu_blocks(model):
        ranges[x], ranges[gate] = silu_range(histograms[x], clipping=clipping), (0.0, 1.0)
    for name in model.inputs:
        if histograms[name].min >= 0 and histograms[name].max <= 1:
            ranges[name] = (0.0, 1.0)
    return ranges | recognise(model).output_ranges(model, histograms)
