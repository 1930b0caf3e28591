"""What a range costs a tensor, read off its histogram: no value is looked at again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from helpers.affine import QParams, choose_qparams, qrange
from helpers.calibrate.histogram import Histogram


def density(h: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """(edges, probability per unit between them): values spread evenly in their bin, none beyond min and max.

    Raises ValueError on an empty histogram.

    >>> x, d = density(Histogram().update([0.0, 1.0, 1.0, 3.0]))
    >>> round(float(d @ np.diff(x)), 9)
    1.0
    """
    low, high = h.range
    x, counts = h.edges, h.counts
    thin = (x[1] - x[0]) / 1024
    x[0] = max(x[0], min(low, x[1] - thin))
    x[-1] = min(x[-1], max(high, x[-2] + thin))
    return x, counts / np.diff(x) / h.n


def expected_error(h: Histogram, qp: QParams) -> tuple[np.ndarray, np.ndarray]:
    """`error.split_error` read off a histogram: mean squared (clipping, rounding); arrays if qp's numbers are.

    Values count as spread evenly inside their bin, and each bin's ∫(Q(x) − x)² dx is taken exactly, by
    F(x) = m·S³/12 + r³/3 for x = m·S + r, |r| ≤ S/2: it holds for bins finer and coarser than a step.
    Raises ValueError on an empty histogram.

    >>> h = Histogram().update(np.linspace(0, 1, 100_001))
    >>> clipping, rounding = expected_error(h, choose_qparams(0, 1))
    >>> float(round(rounding * 12 * 255**2, 2))
    1.0
    """
    x, weight = density(h)
    qmin, qmax = qrange(qp.dtype)
    step, zero = (np.asarray(v, np.float64)[..., None] for v in (qp.scale, qp.zero_point))
    beyond = x - np.clip(x, step * (qmin - zero), step * (qmax - zero))
    near = np.clip(beyond, -step / 2, step / 2)
    kept = x - beyond + near
    m = np.rint(kept / step)
    r = kept - m * step
    clipping = (beyond * beyond * beyond - near * near * near) / 3
    rounding = m * (step * step * step / 12) + r * r * r / 3
    return np.diff(clipping) @ weight, np.diff(rounding) @ weight


def range_scorer(h: Histogram, dtype: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function (lows, highs) → expected squared error of each range; `expected_error` for many candidates.

    With G(t) = E max(t − x, 0), b the highest level and tⱼ the borders between levels, partial summation gives
    E(Q(x) − x)² = E(x − b)² − 2S·Σ G(tⱼ). Where that sum is long, it is the integral K of G, less the midpoint
    rule's S²/24 of F: a step's own rounding, S²/12 of what is not clipped.
    F is the distribution, G = ∫F, K = ∫G; d and u are a bin's density and width. Raises ValueError on an empty
    histogram.

    >>> score = range_scorer(Histogram().update(np.linspace(0, 1, 100_001)), "uint8")
    >>> [float(round(e * 12 * 255**2, 2)) for e in score(np.zeros(1), np.ones(1))]
    [1.0]
    """
    x, d = density(h)
    u = np.diff(x)
    qmin, qmax = qrange(dtype)
    F = np.append(0, np.cumsum(d * u))
    G = np.append(0, np.cumsum(u * (F[:-1] + u * d / 2)))
    K = np.append(0, np.cumsum(u * (G[:-1] + u * (F[:-1] / 2 + u * d / 6))))
    centre, half = (x[1:] + x[:-1]) / 2, u / 2
    mean, square = d * u @ centre, d * u @ (centre * centre + half * half / 3)
    d = np.append(d, 0)

    def at(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # the bin of t, and how far t lies in it
        i = np.clip(np.searchsorted(x, t, "right") - 1, 0, len(x) - 1)
        return i, np.maximum(t - x[i], 0)

    def score(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        qp = choose_qparams(lows, highs, dtype, axis=0)
        step = np.asarray(qp.scale, np.float64)
        first, last = step * (qmin - qp.zero_point), step * (qmax - qp.zero_point)
        if step.size * (qmax - qmin) <= 1 << 12:
            i, v = at(first[:, None] + step[:, None] * (np.arange(qmax - qmin) + 0.5))
            inner = step * (G[i] + v * (F[i] + v * d[i] / 2)).sum(1)
        else:
            i, v = at(np.stack([first, last]))
            inside = F[i] + v * d[i]
            integral = K[i] + v * (G[i] + v * (F[i] / 2 + v * d[i] / 6))
            inner = integral[1] - integral[0] - step * step / 24 * (inside[1] - inside[0])
        return square - 2 * last * mean + last * last - 2 * inner

    return score


_COLUMNS = 320  # bars of a drawn histogram


class RangeCost:
    """What scale and zero point cost one tensor: made once of its histogram, asked at each step of a drag.

    Raises ValueError on an empty histogram.

    >>> costs = RangeCost(Histogram().update(np.linspace(0, 1, 100_001)))
    >>> whole, half = QParams(1 / 255, 0, "uint8"), QParams(0.5 / 255, 0, "uint8")
    >>> round(costs.sqnr_db(whole)), round(costs(half)["clipped"])
    (54, 50)
    """

    def __init__(self, h: Histogram):
        _ = h.range  # refuses an empty histogram
        self.h, self.below = h, np.append(0, np.cumsum(h.counts))
        a, b = h.edges[:-1], h.edges[1:]
        self.power = (a * a + a * b + b * b) / 3 @ h.counts / h.n

    def __call__(self, qp: QParams) -> dict[str, float]:
        """`scale`, `zero_point`; the range's `left` and `right`; `clipped`, % of the values; `clipping`, `rounding` and
        their sum `mse`, squared units of the tensor; `sqnr_db`."""
        qmin, qmax = qrange(qp.dtype)
        scale, zero = float(qp.scale), int(qp.zero_point)
        left, right = scale * (qmin - zero), scale * (qmax - zero)
        first, last = np.interp([left - scale / 2, right + scale / 2], self.h.edges, self.below)
        clipping, rounding = (float(e) for e in expected_error(self.h, qp))
        return {
            "scale": scale,
            "zero_point": zero,
            "left": left,
            "right": right,
            "clipped": float(np.clip(100 * (1 - (last - first) / self.h.n), 0, 100)),
            "clipping": clipping,
            "rounding": rounding,
            "mse": clipping + rounding,
            "sqnr_db": self._db(clipping + rounding),
        }

    def sqnr_db(self, qp: QParams) -> float:
        """Signal to quantization noise ratio of the codes: 10·log₁₀(E x² / E (Q(x) − x)²), dB; inf without noise."""
        return self._db(float(sum(expected_error(self.h, qp))))

    def _db(self, noise: float) -> float:
        return float(10 * np.log10(self.power / noise)) if noise > 0 and self.power > 0 else float("inf")

    def bars(self, low: float, high: float) -> bytes:
        """Heights 0…1 of the log counts in equal columns of low…high, float32."""
        counts = np.diff(np.interp(np.linspace(low, high, _COLUMNS + 1), self.h.edges, self.below))
        tall = np.log1p(counts)
        return (tall / max(tall.max(), 1e-12)).astype(np.float32).tobytes()
