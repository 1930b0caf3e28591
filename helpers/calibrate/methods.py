"""Five ways to read a range off a histogram."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from helpers.affine import choose_qparams, qrange
from helpers.calibrate.histogram import Histogram
from helpers.calibrate.range_cost import density, expected_error, range_scorer

RangeOf = Callable[[Histogram, str], tuple[float, float]]  # (histogram, dtype) → (rmin, rmax)

_BINS, _FIRST = 2048, 128  # of the published entropy search: uniform bins of |x|, and how many T keeps at least


def minmax(h: Histogram) -> tuple[float, float]:
    """The range that clips nothing: (min, max); like all methods here, ValueError on an empty histogram.

    >>> minmax(Histogram().update([-1.0, 0.0, 3.0]))
    (-1.0, 3.0)
    """
    return h.range


def moving_average(h: Histogram, momentum: float = 0.9) -> tuple[float, float]:
    """Each feed's extremes, averaged in feed order: r ← momentum·r + (1 − momentum)·r_feed, from the first on.

    1 − momentum is ONNX Runtime's and PyTorch's `averaging_constant`; their 0.01 suits thousands of batches.

    >>> moving_average(Histogram().update([-1.0, 3.0], feed=0).update([-2.0, 13.0], feed=1))
    (-1.1, 4.0)
    """
    minmax(h)  # refuses an empty histogram
    low, high = h.feeds[0][1:]
    for _, feed_low, feed_high in h.feeds[1:]:
        low, high = momentum * low + (1 - momentum) * feed_low, momentum * high + (1 - momentum) * feed_high
    return low, high


def percentile(h: Histogram, p: float = 99.99) -> tuple[float, float]:
    """The range that keeps p percent of the values, each tail losing (100 − p)/2 percent of them.

    Quantiles are those of the counted values, interpolated inside their bin, and stay within min…max; 100 is
    `minmax`. Raises ValueError unless 0 < p ≤ 100.

    >>> [round(r) for r in percentile(Histogram().update(np.arange(1001)), 90)]
    [50, 950]
    """
    if not 0 < p <= 100:
        raise ValueError(f"p is a percentage above 0 and up to 100, not {p}.")
    (low, high), tail = minmax(h), (100 - p) / 200 * h.n
    if p == 100:
        return low, high
    below = np.append(0, np.cumsum(h.counts))
    cut_low, cut_high = np.clip(np.interp([tail, h.n - tail], below, h.edges), low, high)
    return float(cut_low), float(cut_high)


def mse(h: Histogram, dtype: str = "uint8") -> tuple[float, float]:
    """The range, zero inside, with the least expected squared error on dtype's own grid.

    Both ends shrink separately: (min·2^-a, max·2^-b), searched coarse to fine down to 2 % of an end. The result
    is never worse than `minmax` by `expected_error`. Raises ValueError for an unknown dtype.
    Source: Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1.

    >>> h = Histogram().update(np.random.default_rng(0).standard_normal(100_000))
    >>> [round(mse(h, dtype)[1] / h.max, 1) for dtype in ("uint4", "uint8", "uint16")]
    [0.5, 0.8, 1.0]
    """
    low, high = min(minmax(h)[0], 0.0), max(minmax(h)[1], 0.0)
    if low == high:
        return low, high
    score = range_scorer(h, dtype)
    a = b = 0.0
    for step, reach in ((0.75, np.arange(13)), (0.15, np.arange(-3, 4)), (0.03, np.arange(-3, 4))):
        powers_a = np.maximum(a + step * reach, 0) if low else np.zeros(1)
        powers_b = np.maximum(b + step * reach, 0) if high else np.zeros(1)
        grid_a, grid_b = (g.ravel() for g in np.meshgrid(powers_a, powers_b))
        best = int(np.argmin(score(low * 2**-grid_a, high * 2**-grid_b)))
        a, b = grid_a[best], grid_b[best]
    ends = np.array([low, low * 2**-a]), np.array([high, high * 2**-b])
    best = int(np.argmin(sum(expected_error(h, choose_qparams(*ends, dtype, axis=0)))))
    return float(ends[0][best]), float(ends[1][best])


def entropy(h: Histogram, dtype: str = "uint8") -> tuple[float, float]:
    """The range (−T, T), kept within min…max, that the published search takes: the least KL(P‖Q) of 2048 bins of |x|.

    T is tried at the end of every bin from the 128th on. P is the bins below T, its last one with all that lies
    beyond; Q merges them into the 2^(bits − 1) levels that a symmetric grid has for |x| and spreads each level
    evenly over its non-empty bins. Bin 0 counts as bin 1 does, or the zeros after a ReLU would decide alone.
    A T whose last bin is empty has an infinite KL, so a far outlier gives `minmax`, and so do 16 bits, where
    levels are finer than bins. Raises ValueError for an unknown dtype.
    Source: Migacz, "8-bit inference with TensorRT", GTC 2017, as NVIDIA's pytorch-quantization computes it.

    >>> h = Histogram().update(np.random.default_rng(0).standard_t(4, 1_000_000))
    >>> entropy(h)[1] < 0.8 * minmax(h)[1], entropy(h, "uint16") == minmax(h)
    (True, True)
    """
    (low, high), (qmin, qmax) = minmax(h), qrange(dtype)
    levels, top = (qmax - qmin + 1) // 2, max(-low, high)
    if levels >= _BINS or not top:
        return low, high
    x, _ = density(h)
    below = np.append(0, np.cumsum(h.counts))
    ends = np.linspace(0, top, _BINS + 1)
    within = np.interp(ends, x, below) - np.interp(-ends, x, below)
    within[-1] = h.n
    bins = np.maximum(np.diff(within), 0)
    zero = int(np.clip(np.ceil(h.width / ends[1]), 1, _BINS - 1))  # how many the histogram's own first bin fills
    bins[:zero] = bins[zero]
    divergence = _divergence(bins / bins.sum(), levels)
    best = np.flatnonzero(divergence <= divergence.min() + 1e-12)[-1]  # of equals the widest
    low, high = np.clip([-ends[_FIRST + best], ends[_FIRST + best]], low, high)
    return float(low), float(high)


def _divergence(bins: np.ndarray, levels: int) -> np.ndarray:
    """KL(P‖Q) where P is cut after bin i, for every i from 128 to all; `bins` are probabilities."""

    def log(v: np.ndarray) -> np.ndarray:  # 0·ln 0 counts as 0
        return np.log(np.where(v > 0, v, 1))

    mass, information, filled = (np.append(0, np.cumsum(v)) for v in (bins, bins * log(bins), bins > 0))
    i = np.arange(_FIRST, len(bins) + 1)
    borders = -(-i[:, None] * np.arange(levels + 1) // levels)  # level g holds the bins from ⌈g·i/levels⌉ on
    total, members = np.diff(mass[borders]), np.diff(filled[borders])
    log_q = log(total / np.maximum(members, 1))
    last, beyond = bins[i - 1], mass[-1] - mass[i]
    # Σ p·ln p − Σ p·ln q, where Q is to be divided by its sum, the mass inside
    p = information[i - 1] + (last + beyond) * log(last + beyond)
    q = (total * log_q).sum(1) + beyond * log_q[:, -1] - log(mass[i])
    return np.where((last == 0) & (beyond > 0), np.inf, p - q)


@dataclass(frozen=True)
class Method:
    """One way to choose a range: what it is called, how it is shown, and `range(histogram, dtype) -> (rmin, rmax)`.

    >>> METHODS["minmax"](Histogram().update([-1.0, 3.0]))
    (-1.0, 3.0)
    """

    name: str
    label: str
    colour: str
    range: RangeOf

    def __call__(self, h: Histogram, dtype: str = "uint8") -> tuple[float, float]:
        """`range`, so that a method can be passed where a function is wanted."""
        return self.range(h, dtype)


METHODS = {  # colours: Okabe & Ito (2008), told apart with every common colour vision deficiency
    method.name: method
    for method in (
        Method("minmax", "minmax", "#0072B2", lambda h, dtype: minmax(h)),
        Method("moving_average", "moving average", "#56B4E9", lambda h, dtype: moving_average(h)),
        Method("percentile", "percentile", "#E69F00", lambda h, dtype: percentile(h)),
        Method("mse", "mse", "#D55E00", mse),
        Method("entropy", "entropy", "#CC79A7", entropy),
    )
}


def method_named(method: str | RangeOf) -> RangeOf:
    """The method of a name, or a function of one's own as it is; raises ValueError that lists the names.

    >>> method_named("mse").label, method_named(minmax).label
    ('mse', 'minmax')
    """
    if callable(method):  # of ours, the one with the signature that all share
        return METHODS[method.__name__] if method in (minmax, moving_average, percentile, mse, entropy) else method
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; choose one of {', '.join(METHODS)}.")
    return METHODS[method]


def ranges(
    histograms: Mapping[str, Histogram], method: str | RangeOf = "mse", dtype: str = "uint8"
) -> dict[str, tuple[float, float]]:
    """The range of every tensor by one method: {tensor: (rmin, rmax)}, in the tensors' units.

    `method` is a name in `METHODS`, or a function (histogram, dtype) → (rmin, rmax). Raises ValueError for an unknown
    name, and as the method does.

    >>> ranges({"x": Histogram().update([-1.0, 3.0])}, "minmax")
    {'x': (-1.0, 3.0)}
    """
    range_of = method_named(method)
    return {tensor: range_of(h, dtype) for tensor, h in histograms.items()}
