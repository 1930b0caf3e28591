"""Ranges that know what follows: by least error after an activation function, a softmax, a threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from helpers import calibrate
from helpers.affine import choose_qparams, dequantize, qrange
from helpers.calibrate import Histogram
from helpers.graph import Model, ModelLike, float_model
from helpers.graph.activations import silu
from helpers.repair.functions import Function, function_blocks
from helpers.tasks import recognise
from helpers.tasks.task import Range

CLIPPING = 4.0  # how much a clipping error weighs, where a rounding error weighs 1
_GATES = ("Sigmoid", "HardSigmoid")


def silu_blocks(model: ModelLike) -> list[tuple[str, str, str]]:
    """The tensors (x, σ(x), x·σ(x)) of each SiLU behind a convolution, in graph order.

    >>> from helpers import assets
    >>> silu_blocks(assets.model())[0][0]
    '/model.0/conv/Conv_output_0'
    """
    graph = Model.of(model)
    blocks = [b for b in function_blocks(graph) if [n.op_type for n in b.nodes] == ["Sigmoid", "Mul"]]
    convs = {n.output[0] for n in graph.nodes if n.op_type == "Conv"}
    return [(b.x, b.inner[0], b.y) for b in blocks if b.x in convs and set(b.nodes[1].input) == {b.x, b.inner[0]}]


class FunctionError:
    """What each range of x costs f(x): E[c·(f(Q(x)) − f(x))²], c = `clipping` outside the range and 1 inside.

    Rounding errors average out in the next layer; clipping errors add up, since they hit the same channels in the
    same direction at every place. Both parts are kept, so that another `clipping` costs nothing.

    >>> h = Histogram().update(np.random.default_rng(0).normal(-20, 10, 10_000))
    >>> calibrate.mse(h)[0] < -40 and -16 < FunctionError(h, silu).least(4.0)[0]
    True
    """

    def __init__(self, h: Histogram, function: Callable[[np.ndarray], np.ndarray], dtype: str = "uint8"):
        low, high = calibrate.minmax(h)
        self.function, self.dtype, self.codes = function, dtype, np.arange(qrange(dtype)[0], qrange(dtype)[1] + 1)
        edges = h.edges
        self.x, self.weight = np.clip((edges[1:] + edges[:-1]) / 2, low, high), h.counts / h.n
        self.true = function(self.x)
        self.lows = np.unique(np.maximum(min(low, 0.0), -np.geomspace(1.3, 32, 40)))  # where functions bend
        self.highs = max(high, 1e-3 * max(-low, 1.0)) * 2 ** -np.arange(0, 3, 0.1)
        self._parts: dict[tuple[int, int], tuple[float, float]] = {}

    def parts(self, i: int, j: int) -> tuple[float, float]:
        """(rounding, clipping) of the range (lows[i], highs[j])."""
        if (i, j) not in self._parts:
            qp = choose_qparams(self.lows[i], self.highs[j], self.dtype)
            reals = dequantize(self.codes, qp).astype(np.float64)
            codes = np.clip(np.rint(self.x / qp.scale) + qp.zero_point - self.codes[0], 0, len(reals) - 1).astype(int)
            lost = self.weight * (self.function(reals)[codes] - self.true) ** 2
            half = float(qp.scale) / 2
            outside = (self.x < reals[0] - half) | (self.x > reals[-1] + half)
            self._parts[i, j] = float(lost[~outside].sum()), float(lost[outside].sum())
        return self._parts[i, j]

    def least(self, clipping: float) -> Range:
        """The range with the least error."""

        def best(rows: range, columns: range) -> tuple[int, int]:
            return min(((i, j) for i in rows for j in columns), key=lambda at: self._error(at[0], at[1], clipping))

        tall, wide = len(self.lows), len(self.highs)
        i, j = best(range(0, tall, 4), range(0, wide, 4))  # coarsely, then around it
        i, j = best(range(max(i - 3, 0), min(i + 4, tall)), range(max(j - 3, 0), min(j + 4, wide)))
        return float(self.lows[i]), float(self.highs[j])

    def _error(self, i: int, j: int, clipping: float) -> float:
        rounding, clipped = self.parts(i, j)
        return rounding + clipping * clipped


def silu_range(h: Histogram, dtype: str = "uint8", clipping: float = CLIPPING) -> Range:
    """The range of x with the least error of SiLU(x) = x·σ(x), by `FunctionError`; min and max for 16 bits.

    f is flat far below zero, so the lower end may be clipped where x itself could not spare it.

    >>> h = Histogram().update(np.random.default_rng(0).normal(-20, 10, 10_000))
    >>> -16 < silu_range(h)[0] < -2
    True
    """
    qmin, qmax = qrange(dtype)
    return calibrate.minmax(h) if qmax - qmin > 255 else FunctionError(h, silu, dtype).least(clipping)


class FunctionalRanges:
    """Ranges {tensor: (rmin, rmax)} by least error after what follows, not of the tensor; called with `clipping`.

    An activation function's input by `FunctionError`, the σ of a SiLU in 0…1, inputs within 0…1 (images) in 0…1,
    outputs as the model's task says (`Task.output_ranges`), all else as in `base`, by default `calibrate.mse`'s;
    another base costs nothing.
    Raises ValueError for a quantized model and as `calibrate.mse` does.

    >>> from helpers import assets, tasks
    >>> feeds = tasks.Feeds(assets.images()[:1], assets.model())
    >>> FunctionalRanges(assets.model(), calibrate.observe(assets.model(), feeds))(4.0)["images"]
    (0.0, 1.0)
    """

    def __init__(self, fp32: ModelLike, histograms: Mapping[str, Histogram], base: Mapping[str, Range] | None = None):
        model = float_model(fp32)
        self.base = dict(base) if base is not None else calibrate.ranges(histograms)
        blocks = [b for b in function_blocks(model) if b.x in histograms]
        self.errors = {b.x: FunctionError(histograms[b.x], Function(model, b)) for b in blocks}
        self.known: dict[str, Range] = {
            name: (0.0, 1.0) for name in model.inputs if name in histograms and _within_one(histograms[name])
        }
        for block in blocks:
            gates = [n.output[0] for n in block.nodes if n.op_type in _GATES and n.output[0] in block.inner]
            self.known |= dict.fromkeys(gates, (0.0, 1.0))
        self.known |= recognise(model).output_ranges(model, histograms)

    def __call__(self, clipping: float, base: Mapping[str, Range] | None = None) -> dict[str, Range]:
        return dict(base or self.base) | {x: error.least(clipping) for x, error in self.errors.items()} | self.known


def _within_one(h: Histogram) -> bool:
    return h.min >= 0 and h.max <= 1


def functional_ranges(
    fp32: ModelLike, histograms: Mapping[str, Histogram], clipping: float = CLIPPING
) -> dict[str, Range]:
    """`FunctionalRanges` of one `clipping`, for any activation function; no labels.

    >>> from helpers import assets, tasks
    >>> feeds = tasks.Feeds(assets.images()[:1], assets.model())
    >>> functional_ranges(assets.model(), calibrate.observe(assets.model(), feeds))["images"]
    (0.0, 1.0)
    """
    return FunctionalRanges(fp32, histograms)(clipping)
