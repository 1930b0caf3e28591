"""What a range would cost a tensor, read off its histogram: no value is looked at again."""

from __future__ import annotations

import numpy as np

from . import calibrate
from .affine import QParams, qrange

_COLUMNS = 320  # bars of a drawn histogram


class Costs:
    """What scale and zero point cost one tensor: made once of its histogram, asked at each step of a drag.

    Raises ValueError on an empty histogram.

    >>> costs = Costs(calibrate.Histogram().update(np.linspace(0, 1, 100_001)))
    >>> whole, half = QParams(1 / 255, 0, "uint8"), QParams(0.5 / 255, 0, "uint8")
    >>> round(costs.sqnr_db(whole)), round(costs(half)["clipped"])
    (54, 50)
    """

    def __init__(self, h: calibrate.Histogram):
        calibrate.minmax(h)  # refuses an empty histogram
        self.h, self.below = h, np.append(0, np.cumsum(h.counts))
        a, b = h.edges[:-1], h.edges[1:]
        self.power = (a * a + a * b + b * b) / 3 @ h.counts / h.n

    def __call__(self, qp: QParams) -> dict[str, float]:
        """scale, zero_point, the ends left and right, clipped (% of the values), clipping, rounding, their sum mse
        (squared units of the tensor), sqnr_db."""
        qmin, qmax = qrange(qp.dtype)
        left, right = (float(qp.scale * (code - qp.zero_point)) for code in (qmin, qmax))
        first, last = np.interp([left - qp.scale / 2, right + qp.scale / 2], self.h.edges, self.below)
        clipping, rounding = (float(e) for e in calibrate.expected_error(self.h, qp))
        return {
            "scale": float(qp.scale),
            "zero_point": int(qp.zero_point),
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
        return self._db(float(sum(calibrate.expected_error(self.h, qp))))

    def _db(self, noise: float) -> float:
        return float(10 * np.log10(self.power / noise)) if noise > 0 and self.power > 0 else float("inf")

    def bars(self, low: float, high: float) -> bytes:
        """Heights 0…1 of the log counts in equal columns of low…high, float32."""
        counts = np.diff(np.interp(np.linspace(low, high, _COLUMNS + 1), self.h.edges, self.below))
        tall = np.log1p(counts)
        return (tall / max(tall.max(), 1e-12)).astype(np.float32).tobytes()
