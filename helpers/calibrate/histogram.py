"""Streaming histograms: exact, mergeable, the same in any order, and not ruined by one far value."""

from __future__ import annotations

import math
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike

from helpers.graph import StrPath, written_whole

_FINEST = -126  # w ≥ 2^-126, float32's smallest normal number
_INDEX_BITS = 30  # |x|/w < 2^30, so an index fits int32 even for a constant tensor
_DENSE_BITS = 14  # a first look at a width of range/2^14: quick, and fine enough unless a value lies far out


def extremes(x: np.ndarray, name: str, where: str) -> tuple[float, float]:
    """(min, max) of an array that is not empty; raises ValueError on NaN or inf, naming tensor and feed.

    >>> extremes(np.float32([3, -0.0]), "conv1", "feed 0")
    (0.0, 3.0)
    """
    low, high = float(x.min()) + 0.0, float(x.max()) + 0.0  # + 0.0 turns −0 into 0
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f"tensor '{name}' holds NaN or inf in {where}: a range needs finite values; "
            "check that feed, and the FP32 model on it."
        )
    return low, high


def _exponent(value: float) -> int:
    """The least e with value < 2^e."""
    return math.frexp(max(value, 2.0**_FINEST))[1]


def _tally(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(index, counts) of the non-empty bins ⌊x/2^k⌋, sorted."""
    # float32 · 2^-k is exact while it scales up; scaled down, a subnormal would round, so float64.
    exact = np.float32 if x.dtype == np.float32 and k <= 0 else np.float64
    scaled = np.multiply(x, 2.0**-k, dtype=exact)
    index = np.floor(scaled, out=scaled).astype(np.int32)
    first = int(index.min())
    if int(index.max()) - first > 2 << _DENSE_BITS:
        index, counts = np.unique(index, return_counts=True)
        return index.astype(np.int64), counts
    index -= first
    counts = np.bincount(index)
    index = np.flatnonzero(counts)
    return index + first, counts[index]


def _by_feed(rows: np.ndarray) -> np.ndarray:
    """Rows (feed, min, max) in order of feed, those of one feed joined."""
    if not len(rows):
        return rows
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    start = np.flatnonzero(np.diff(rows[:, 0], prepend=rows[0, 0] - 1))
    low, high = np.minimum.reduceat(rows[:, 1], start), np.maximum.reduceat(rows[:, 2], start)
    return np.stack([rows[start, 0], low, high], 1)


def _together(parts: tuple[np.ndarray, ...], more: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Both, with parts joined until each is more than twice the next: log n parts, each row copied log n times."""
    found = []
    for part in (*parts, *more):
        found.append(part)
        while len(found) > 1 and len(found[-2]) <= 2 * len(found[-1]):
            last, before = found.pop(), found.pop()
            found.append(_by_feed(np.concatenate([before, last])))
    return tuple(found)


class Histogram:
    """Counts of a tensor's values over all feeds; order and batching never show, and `a + b` is exact.

    Bin i counts i·w ≤ x < (i+1)·w. The width w = 2^k is the least power of two that leaves at most `bins` bins
    non-empty and |i| < 2^30. It only grows as values arrive, and since ⌊x/2w⌋ = ⌊x/w⌋ >> 1 bins merge in pairs
    without loss, so the counts depend on the multiset of values alone; hence + is associative and commutative.
    Empty bins are not stored, so one far value costs one bin and the bulk keeps its `resolution`.

    `counts` is int64, `n` their sum, `min` and `max` are exact, also where a sample was counted; `feeds`, (feed, min,
    max) in order of feed, takes no part in ==. Raises ValueError for fewer than 2 bins.

    >>> a, b = Histogram().update([0.0, 0.5, 3.0]), Histogram().update([-1.0, 3.0], feed=1)
    >>> (a + b).n, (a + b).min, (a + b).max, a + b == b + a == Histogram().update([3, 3, 0, -1, 0.5])
    (5, -1.0, 3.0, True)
    """

    def __init__(self, bins: int = 2048):
        if bins < 2:
            raise ValueError(f"a histogram needs at least 2 bins, not {bins}.")
        self.bins, self.n = bins, 0
        self.min, self.max = math.inf, -math.inf
        self._k = _FINEST
        self._index, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        # Arrays of rows (feed, min, max), never changed, so that sums may share them.
        self._extremes: tuple[np.ndarray, ...] = ()

    def update(self, x: ArrayLike, name: str = "tensor", feed: int = 0) -> Histogram:
        """Count the values of `x` (any shape) and return self; NaN or inf raise ValueError and count nothing."""
        x = np.asarray(x).reshape(-1)
        if x.size:
            # One call, so that Ctrl-C finds either the old state or the new one.
            self.__dict__.update(self.counting(x, {feed: extremes(x, name, f"feed {feed}")}).__dict__)
        return self

    def counting(self, x: np.ndarray, seen: dict[int, tuple[float, float]], weight: int = 1) -> Histogram:
        """A new histogram that counts each of the finite values `x` `weight` times more; `seen` are (min, max) by feed.

        A sample, weight > 1, may have missed its feeds' extremes: these count once each.
        """
        low, high = min(low for low, _ in seen.values()), max(high for _, high in seen.values())
        finest = max(self._k, _exponent(max(-low, high)) - _INDEX_BITS)
        k = max(finest, _exponent(float(x.max()) - float(x.min())) - _DENSE_BITS)
        index, counts = _tally(x, k)
        if len(index) <= self.bins and k > finest:  # a finer width would do as well
            k = finest
            index, counts = _tally(x, k)
        if weight > 1:
            ends = np.floor(np.ldexp(np.array([*seen.values()]).ravel(), -k)).astype(np.int64)
            index = np.append(index, ends)
            counts = np.append(counts * weight, np.ones(ends.size, np.int64))
        rows = np.array([(feed, *ends) for feed, ends in seen.items()], np.float64)
        return self._adding(k, index, counts, (_by_feed(rows),))

    def _adding(self, k: int, index: np.ndarray, counts: np.ndarray, seen: tuple[np.ndarray, ...]) -> Histogram:
        """The sum of two sets of counts on the finest grid that holds both."""
        out, shared = Histogram(self.bins), max(k, self._k)
        index = np.concatenate([self._index >> (shared - self._k), index >> (shared - k)])  # ⌊i/2^(shared − k)⌋
        order = np.argsort(index, kind="stable")
        index, counts = index[order], np.concatenate([self._counts, counts])[order]
        while np.count_nonzero(np.diff(index)) >= self.bins:
            index, shared = index >> 1, shared + 1  # bins in pairs
        start = np.flatnonzero(np.diff(index, prepend=index[:1] - 1))
        out._k, out._index = shared, index[start]
        out._counts = np.add.reduceat(counts, start) if start.size else counts
        out._extremes = _together(self._extremes, seen)
        out.n = int(out._counts.sum())
        out.min = min([self.min, *(float(rows[:, 1].min()) for rows in seen)])
        out.max = max([self.max, *(float(rows[:, 2].max()) for rows in seen)])
        return out

    def __add__(self, other: Histogram) -> Histogram:
        if not isinstance(other, Histogram):
            return NotImplemented
        if other.bins != self.bins:
            raise ValueError(f"histograms of {self.bins} and {other.bins} bins do not add; use the same `bins`.")
        return self._adding(other._k, other._index, other._counts, other._extremes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine, theirs = ((h.bins, h.n, h.min, h.max, h._k) for h in (self, other))
        same_bins = np.array_equal(self._index, other._index) and np.array_equal(self._counts, other._counts)
        return mine == theirs and same_bins

    def __repr__(self) -> str:
        return f"Histogram(n={self.n}, min={self.min:.6g}, max={self.max:.6g}, w=2**{self._k})"

    @property
    def range(self) -> tuple[float, float]:
        """(min, max); ValueError on an empty histogram."""
        if not self.n:
            raise ValueError("the histogram is empty, so it has no range: update it, or observe feeds first.")
        return self.min, self.max

    @property
    def width(self) -> float:
        """w, the width of a bin, in the tensor's units."""
        return 2.0**self._k

    @property
    def edges(self) -> np.ndarray:
        """The bins' edges, exact multiples of w, float64, one more than `counts`; a run of empty bins is one bin."""
        gaps = self._gaps()
        index = np.insert(self._index, gaps, self._index[gaps - 1] + 1)
        return np.ldexp(np.append(index, self._index[-1:] + 1).astype(np.float64), self._k)

    @property
    def counts(self) -> np.ndarray:
        """Values in each bin; 0 stands for a whole run of empty bins."""
        return np.insert(self._counts, self._gaps(), 0)

    def _gaps(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self._index) > 1) + 1

    @property
    def resolution(self) -> tuple[int, int]:
        """Non-empty bins in the central 99.9 % of the values: (here, had `bins` equal bins spanned min…max).

        >>> bulk = np.random.default_rng(0).standard_normal(100_000)
        >>> Histogram().update(np.append(bulk, 1e4)).resolution
        (1631, 2)
        """
        if not self.n:
            return 0, 0
        first, last = np.searchsorted(np.cumsum(self._counts), [self.n * 0.0005, self.n * 0.9995])
        central = math.ldexp(float(self._index[last] - self._index[first] + 1), self._k)
        equal = math.ceil(self.bins * central / max(self.max - self.min, central))
        return int(last - first + 1), min(equal, int(last - first + 1))

    @property
    def feeds(self) -> list[tuple[int, float, float]]:
        """(feed, min, max) of every feed, in order of feed."""
        rows = _by_feed(np.concatenate([np.zeros((0, 3)), *self._extremes]))
        return [(int(feed), low, high) for feed, low, high in rows.tolist()]

    @property
    def max_feed(self) -> int:
        """The first feed that reached `max`: whom to ask when one value stretches the range."""
        return max(self.feeds, key=lambda f: f[2])[0]

    def save(self, path: StrPath) -> Path:
        """Write the histogram to `path`, one .npz, whole or not at all.

        >>> path = getfixture("tmp_path") / "h.npz"
        >>> Histogram.load(Histogram().update([1.0, 2.0]).save(path)).max
        2.0
        """
        feeds = np.array(self.feeds, np.float64).reshape(-1, 3)
        with written_whole(path) as part, open(part, "wb") as file:
            np.savez(file, grid=[self.bins, self._k], index=self._index, counts=self._counts, feeds=feeds)
        return Path(path)

    @classmethod
    def load(cls, path: StrPath) -> Histogram:
        """Read what `save` wrote; raises FileNotFoundError, or ValueError naming a file that is cut or foreign."""
        try:
            with np.load(path, allow_pickle=False) as file:
                (bins, k), index, counts, feeds = (file[name] for name in ("grid", "index", "counts", "feeds"))
                rows = (np.reshape(feeds, (-1, 3)).astype(np.float64),) if len(feeds) else ()
                return cls(int(bins))._adding(int(k), index, counts, rows)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; `Histogram.save` writes one.") from None
        except (ValueError, KeyError, OSError, EOFError, BadZipFile, TypeError, AttributeError):
            raise ValueError(f"{path}: not a whole histogram; save it again, or observe again.") from None
