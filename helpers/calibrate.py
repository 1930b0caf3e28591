"""Ranges from data: streaming histograms of every activation, and five ways to read a range off them."""

from __future__ import annotations

import difflib
import math
import operator
import warnings
from collections.abc import Iterable
from functools import reduce
from itertools import islice, repeat

import numpy as np
import onnx
import onnxruntime as ort
from tqdm.auto import tqdm

from .affine import choose_qparams, qrange
from .graph import read_model

_FINEST = -126  # w ≥ 2^-126, float32's smallest normal number
_INDEX_BITS = 30  # |x|/w < 2^30, so an index fits int32 even for a constant tensor
_CHUNK = 1 << 17  # values binned at once: temporaries stay in the cache
_SHARD = 8  # feeds a worker takes at once: opening its session costs about as much as one feed


def _grid(low: float, high: float, bins: int) -> tuple[int, int, int]:
    """(k, first, last): the finest allowed w = 2^k that spans low…high with `bins` bins, and its end bins."""
    tiny = 2.0**_FINEST
    k = max(
        _FINEST,
        math.frexp(max(-low, high, tiny))[1] - _INDEX_BITS,
        math.frexp(max(high - low, tiny) / bins)[1] - 1,
    )
    while math.floor(math.ldexp(high, -k)) - math.floor(math.ldexp(low, -k)) >= bins:
        k += 1
    return k, math.floor(math.ldexp(low, -k)), math.floor(math.ldexp(high, -k))


class Histogram:
    """Counts of a tensor's values over all feeds; order and batching never show, and `a + b` is exact.

    Bin i counts i·w ≤ x < (i+1)·w. The width w = 2^k is the least power of two that spans min…max with
    `bins` bins, so it depends on min and max alone, and since ⌊x/2w⌋ = ⌊x/w⌋ >> 1 (coarsening is exact)
    the counts depend on the multiset of values alone; hence + is associative and commutative.

    `counts` is int64, `n` their sum, `min` and `max` are exact, `edges` has one entry more than `counts`;
    `feeds` lists (feed, min, max) in order of feed; it does not take part in ==.

    >>> a, b = Histogram().update([0.0, 0.5, 3.0]), Histogram().update([-1.0, 3.0], feed=1)
    >>> (a + b).n, (a + b).min, (a + b).max, a + b == b + a == Histogram().update([3, 3, 0, -1, 0.5])
    (5, -1.0, 3.0, True)
    """

    def __init__(self, bins: int = 2048):
        if bins < 2:
            raise ValueError(f"a histogram needs at least 2 bins, not {bins}.")
        self.bins, self.n, self.min, self.max = bins, 0, math.inf, -math.inf
        self.counts, self._extremes = np.zeros(0, np.int64), {}
        self._k, self._first = _FINEST, 0

    def update(self, x, name: str = "tensor", feed: int = 0) -> Histogram:
        """Count the values of `x` (any shape) and return self; NaN or inf raise ValueError and count nothing."""
        x = np.asarray(x).reshape(-1)
        if not x.size:
            return self
        low, high = float(x.min()) + 0.0, float(x.max()) + 0.0  # + 0.0 turns −0 into 0
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"tensor '{name}' holds NaN or inf in feed {feed}: a range needs finite values; "
                "check that feed, and the FP32 model on it."
            )
        k, first, last = _grid(min(low, self.min), max(high, self.max), self.bins)
        counts = self._onto(k, first, last)
        # float32 · 2^-k is exact while it scales up; scaled down, a subnormal would round, so float64.
        exact = np.float32 if x.dtype == np.float32 and k <= 0 else np.float64
        for i in range(0, x.size, _CHUNK):
            scaled = np.multiply(x[i : i + _CHUNK], 2.0**-k, dtype=exact)
            index = np.floor(scaled, out=scaled).astype(np.int32) - first
            counts += np.bincount(index, minlength=len(counts))
        return self._set(k, first, counts, low, high, x.size, {feed: (low, high)})

    def _onto(self, k: int, first: int, last: int) -> np.ndarray:
        """The counts moved onto the coarser grid 2^k, bins first…last."""
        out = np.zeros(last - first + 1, np.int64)
        index = self._first + np.arange(len(self.counts))
        np.add.at(out, (index >> (k - self._k)) - first, self.counts)
        return out

    def _set(self, k, first, counts, low, high, n, extremes) -> Histogram:
        merged = dict(self._extremes)
        for feed, (a, b) in extremes.items():
            c, d = merged.get(feed, (a, b))
            merged[feed] = (min(a, c), max(b, d))
        # One call, so that Ctrl-C finds either the old state or the new one.
        self.__dict__.update(
            _k=k, _first=first, counts=counts, min=min(low, self.min), max=max(high, self.max),
            n=self.n + n, _extremes=merged,
        )  # fmt: skip
        return self

    def __add__(self, other: Histogram) -> Histogram:
        if not isinstance(other, Histogram):
            return NotImplemented
        if other.bins != self.bins:
            raise ValueError(f"histograms of {self.bins} and {other.bins} bins do not add; use the same `bins`.")
        out = Histogram(self.bins)
        for h in (self, other):
            if h.n:
                k, first, last = _grid(min(out.min, h.min), max(out.max, h.max), self.bins)
                counts = out._onto(k, first, last) + h._onto(k, first, last)
                out._set(k, first, counts, h.min, h.max, h.n, h._extremes)
        return out

    def __eq__(self, other) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine, theirs = ((h.bins, h.n, h.min, h.max, h._k, h._first) for h in (self, other))
        return mine == theirs and np.array_equal(self.counts, other.counts)

    __hash__ = None

    def __repr__(self) -> str:
        return f"Histogram(n={self.n}, min={self.min:.6g}, max={self.max:.6g}, w=2**{self._k})"

    @property
    def edges(self) -> np.ndarray:
        """The bins' edges, exact multiples of w, float64, one more than `counts`."""
        return np.ldexp(np.arange(self._first, self._first + len(self.counts) + 1, dtype=np.float64), self._k)

    @property
    def feeds(self) -> list[tuple[int, float, float]]:
        return sorted((feed, low, high) for feed, (low, high) in self._extremes.items())

    @property
    def max_feed(self) -> int:
        """The first feed that reached `max`: whom to ask when one value stretches the range."""
        return max(self.feeds, key=lambda f: f[2])[0]


def observe(model_path, feeds: Iterable[dict], tensors=None, executor=None) -> dict[str, Histogram]:
    """Histogram every activation of a model: {tensor: Histogram}, in one pass over the feeds.

    Activations are the float32 graph inputs and node outputs that depend on an input; `tensors` names fewer.
    The FP32 graph runs unoptimised on the CPU with all of them as outputs, so every tensor is the one of the
    file; memory holds one feed's activations (YOLOv8n at 640: 240 MB) however many feeds there are.
    With a `concurrent.futures` executor, shards of feeds run in its workers and their histograms are added:
    the same result; the feeds themselves (inputs, not activations) then wait in memory.
    Ctrl-C keeps the feeds done so far, with a warning; before the first it raises KeyboardInterrupt.

    Raises ValueError on no feeds, a tensor that is not there, a dynamic input shape, a feed that does not fit
    the model's inputs, NaN or inf in an activation.

    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    >>> path = getfixture("tmp_path") / "relu.onnx"
    >>> onnx.save(onnx.parser.parse_model(text), path)
    >>> observe(path, [{"x": np.float32([-1, 2])}, {"x": np.float32([5, 0])}])["y"].max
    5.0
    """
    count = operator.length_hint(feeds, 0) or None
    if executor is None:
        parts = ((part, 1) for part in _per_feed(model_path, feeds, tensors))
    else:
        source = iter(feeds)
        shards = list(iter(lambda: list(islice(source, _SHARD)), []))
        starts = range(0, _SHARD * len(shards), _SHARD)
        parts = executor.map(_shard, repeat(model_path), shards, repeat(tensors), starts)
    seen, done = {}, 0
    try:
        with tqdm(total=count, desc="observe", unit="feed") as bar:
            for part, size in parts:
                seen = _merge(seen, part)
                done += size
                bar.update(size)
    except KeyboardInterrupt:
        if not seen:
            raise
        warnings.warn(f"observe was interrupted: these histograms hold {done} feeds only.", stacklevel=2)
    if not done:
        raise ValueError("there are no feeds: give at least one {input name: array}; a used-up generator has none.")
    return seen


def _merge(a: dict, b: dict) -> dict:
    return {name: a[name] + h for name, h in b.items()} if a else b


def _shard(model_path, feeds, tensors, start: int) -> tuple[dict[str, Histogram], int]:
    """One worker's share: its feeds' histograms added, and how many feeds that were."""
    return reduce(_merge, _per_feed(model_path, feeds, tensors, start)), len(feeds)


def _per_feed(model_path, feeds, tensors, start: int = 0):
    """Yield {tensor: Histogram} feed by feed."""
    session, inputs, names = _all_outputs(model_path, tensors)
    fetch = [name for name in names if name not in inputs]
    for index, feed in enumerate(feeds, start):
        _check(feed, index, inputs, model_path)
        values = [feed[name] for name in names if name in inputs]
        values += session.run(fetch, feed) if fetch else []
        part = {}
        for name in names:
            part[name] = Histogram().update(values.pop(0), name, index)  # popped: its memory is free at once
        yield part


def _all_outputs(model_path, tensors):
    """(session, {input: (shape, dtype)}, activation names): every activation made a graph output."""
    graph = (model := read_model(model_path)).graph
    constant, produced = {i.name for i in graph.initializer}, []
    given = [i for i in graph.input if i.name not in constant]
    for node in graph.node:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)
        else:
            produced += [name for name in node.output if name]
    have = {o.name for o in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in produced if name not in have)
    options = ort.SessionOptions()
    # With every tensor an output, optimising gains nothing (measured: 79 ms without, 78 to 91 ms with).
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    inputs = {}
    for i in given:
        kind = i.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        inputs[i.name] = (shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    floats = {o.name for o in session.get_outputs() if o.type == "tensor(float)"}
    names = [name for name, (_, dtype) in inputs.items() if dtype == np.float32]
    names += [name for name in produced if name in floats]
    for name in [] if tensors is None else tensors:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3, 0) or names[:3]
            raise ValueError(f"{model_path}: has no float activation '{name}'; the nearest names are {near}.")
    return session, inputs, [name for name in names if tensors is None or name in tensors]


def _check(feed, index: int, inputs: dict, model_path) -> None:
    """Raise ValueError unless the feed gives each input in its shape and dtype."""
    if not isinstance(feed, dict) or set(feed) != set(inputs):
        got = sorted(feed) if isinstance(feed, dict) else type(feed).__name__
        raise ValueError(f"feed {index}: {model_path} expects {{name: array}} for {sorted(inputs)}, got {got}.")
    for name, (shape, dtype) in inputs.items():
        x = np.asarray(feed[name])
        if list(x.shape) != shape or x.dtype != dtype:
            raise ValueError(
                f"feed {index}: input '{name}' expects {dtype} of shape {shape}, got {x.dtype} of {list(x.shape)}."
            )


def minmax(h: Histogram) -> tuple[float, float]:
    """The range that clips nothing: (min, max); like all methods here, ValueError on an empty histogram.

    >>> minmax(Histogram().update([-1.0, 0.0, 3.0]))
    (-1.0, 3.0)
    """
    if not h.n:
        raise ValueError("the histogram is empty, so it has no range: update it, or observe feeds first.")
    return h.min, h.max


def moving_average(h: Histogram, momentum: float = 0.9) -> tuple[float, float]:
    """Each feed's extremes, averaged in feed order: r ← momentum·r + (1 − momentum)·r_feed, from the first on.

    1 − momentum is ONNX Runtime's and PyTorch's `averaging_constant`; their 0.01 suits thousands of batches,
    but after 32 feeds it still gives the first one a weight of 0.73. TensorFlow says `ema_decay`.

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

    Quantiles are interpolated inside their bin and stay within min…max; 100 is `minmax`. Raises ValueError
    unless 0 < p ≤ 100.

    >>> [round(r) for r in percentile(Histogram().update(np.arange(1001)), 90)]
    [50, 950]
    """
    if not 0 < p <= 100:
        raise ValueError(f"p is a percentage above 0 and up to 100, not {p}.")
    (low, high), tail = minmax(h), (100 - p) / 200 * h.n
    below = np.append(0, np.cumsum(h.counts))
    cut_low, cut_high = np.clip(np.interp([tail, h.n - tail], below, h.edges), low, high)
    return float(cut_low), float(cut_high)


def expected_error(h: Histogram, qp) -> tuple:
    """`error.split_error` read off a histogram: mean squared (clipping, rounding); arrays if qp's numbers are.

    Values count as spread evenly inside their bin, and each bin's ∫(Q(x) − x)² dx is taken exactly, by
    F(x) = m·S³/12 + r³/3 for x = m·S + r, |r| ≤ S/2: it holds for bins finer and coarser than a step.

    >>> h = Histogram().update(np.linspace(0, 1, 100_001))
    >>> clipping, rounding = expected_error(h, choose_qparams(0, 1))
    >>> float(round(rounding * 12 * 255**2, 2))
    1.0
    """
    (low, high), x = minmax(h), h.edges
    thin = (x[1] - x[0]) / 1024
    x[0], x[-1] = min(low, x[1] - thin), max(high, x[-2] + thin)  # end bins hold values up to min and max only
    weight = h.counts / np.diff(x) / h.n
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


def mse(h: Histogram, dtype: str = "uint8") -> tuple[float, float]:
    """The range, zero inside, with the least expected squared error on dtype's own grid.

    Both ends shrink separately: (min·2^-a, max·2^-b), searched coarse to fine down to 2 % of an end. a = b = 0
    is among the candidates, so it is never worse than `minmax`. Source: Nagel et al. 2021, section 3.1.

    >>> h = Histogram().update(np.random.default_rng(0).standard_normal(100_000))
    >>> [round(mse(h, dtype)[1] / h.max, 1) for dtype in ("uint4", "uint8", "uint16")]
    [0.5, 0.8, 1.0]
    """
    low, high = min(minmax(h)[0], 0.0), max(minmax(h)[1], 0.0)
    if low == high:
        return low, high
    a = b = 0.0
    coarse, fine = np.arange(13), np.arange(-3, 4)
    for step, reach in ((0.75, coarse), (0.25, fine), (1 / 12, fine), (1 / 36, fine)):
        powers_a = np.unique(np.maximum(a + step * reach, 0)) if low else np.zeros(1)
        powers_b = np.unique(np.maximum(b + step * reach, 0)) if high else np.zeros(1)
        grid_a, grid_b = (g.ravel() for g in np.meshgrid(powers_a, powers_b))
        qp = choose_qparams(low * 2**-grid_a, high * 2**-grid_b, dtype, axis=0)
        best = int(np.argmin(sum(expected_error(h, qp))))
        a, b = grid_a[best], grid_b[best]
    return float(low * 2**-a), float(high * 2**-b)


def entropy(h: Histogram, dtype: str = "uint8") -> tuple[float, float]:
    """The range whose quantized histogram Q differs least from the histogram P: min KL(P‖Q).

    Candidates come from dropping, again and again, the end bin with fewer values, never zero's, down to 2^bits
    bins: one-sided data lose their upper tail, symmetric data both. P folds what lies outside into its end
    bins; Q merges what lies inside into 2^bits levels and spreads each evenly over its non-empty bins.
    With no more bins than levels (16 bits) a level is finer than a bin and there is nothing to gain: `minmax`.
    Source: Migacz, "8-bit inference with TensorRT", GTC 2017.

    >>> h = Histogram().update(np.append(np.random.default_rng(0).standard_normal(100_000), 1000))
    >>> entropy(h)[1] < 10, entropy(h, "uint16") == minmax(h)
    (True, True)
    """
    qmin, qmax = qrange(dtype)
    levels, full = qmax - qmin + 1, minmax(h)
    h = h + Histogram(h.bins).update([0.0])  # zero is on every grid, so in every window
    counts, zero = h.counts.astype(np.float64), -h._first
    if len(counts) <= levels:
        return full
    a, b, c = 0, len(counts) - 1, h.counts.tolist()
    windows = [(a, b)]
    while b - a >= levels or not (c[a] and c[b]):
        if b > zero and (a == zero or c[b] <= c[a]):
            b -= 1
        else:
            a += 1
        if c[a] and c[b] and a < b:  # an empty end bin could not carry what is folded into it
            windows.append((a, b))
    a, b = np.array(windows).T

    def xlogx(v):
        return v * np.log(np.where(v > 0, v, 1))

    # n·KL(P‖Q) up to a constant, all windows at once from running sums.
    mass, used, information = (np.append(0, np.cumsum(v)) for v in (counts, counts > 0, xlogx(counts)))
    inside, below, above = mass[b + 1] - mass[a], mass[a], h.n - mass[b + 1]
    groups = np.minimum(levels, b - a + 1)[:, None]
    bounds = a[:, None] + np.minimum(np.arange(levels + 1), groups) * (b - a + 1)[:, None] // groups
    total = np.diff(mass[bounds])
    log_q = np.log(np.where(total > 0, total, 1) / np.maximum(np.diff(used[bounds]), 1))
    p = information[b + 1] - information[a]
    p += xlogx(counts[a] + below) - xlogx(counts[a]) + xlogx(counts[b] + above) - xlogx(counts[b])
    q = (total * log_q).sum(1) + below * log_q[:, 0] + above * np.take_along_axis(log_q, groups - 1, 1)[:, 0]
    best = int(np.argmin(p - q + h.n * np.log(inside)))
    low, high = np.clip(h.edges[[a[best], b[best] + 1]], h.min, h.max)
    return float(low), float(high)
