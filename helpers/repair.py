"""Getting accuracy back: ranges that know what follows, weights rounded with inputs in view, a few 16-bit tensors."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import numpy_helper
from tqdm.auto import tqdm

from . import calibrate, head, qdq
from .affine import choose_qparams, dequantize, qrange
from .drift import Drift, drift_from, look
from .graph import constants, float_model, save_model
from .holdout import again, hold_back
from .rounding import rewrite, round_rows

_SEEN = -7.0  # σ(−7) < 0.001, below every confidence that a detector is judged at
_SHARE = 0.05  # of the activation tensors, 16 bits wide


def silu_blocks(model) -> list[tuple[str, str, str]]:
    """The tensors (x, σ(x), x·σ(x)) of each SiLU behind a convolution, in graph order; `model` is a ModelProto."""
    convs = {n.output[0] for n in model.graph.node if n.op_type == "Conv"}
    gates = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Sigmoid"}
    products = [n for n in model.graph.node if n.op_type == "Mul"]
    blocks = [(gates[t], t, n.output[0]) for n in products for t in n.input if t in gates and gates[t] in n.input]
    return [b for b in blocks if b[0] in convs]


def silu_range(h: calibrate.Histogram, dtype: str = "uint8", clipping: float = 4.0) -> tuple[float, float]:
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

    def f(x):
        return x / (1 + np.exp(-np.clip(x, -80, None)))

    edges = h.edges
    x, weight = np.clip((edges[1:] + edges[:-1]) / 2, low, high), h.counts / h.n
    true = f(x)
    lows = np.unique(np.maximum(min(low, 0), -np.geomspace(1.3, 32, 40)))
    highs = max(high, 1e-3) * 2 ** -np.arange(0, 3, 0.1)

    def error(i: int, j: int) -> float:
        qp = choose_qparams(lows[i], highs[j], dtype)
        reals = dequantize(np.arange(qmin, qmax + 1), qp).astype(np.float64)
        codes = np.clip(np.rint(x / qp.scale) + qp.zero_point, qmin, qmax).astype(int) - qmin
        heavy = np.where((x < reals[0]) | (x > reals[-1]), clipping, 1)
        return (weight * heavy) @ (f(reals)[codes] - true) ** 2

    def least(rows, columns):
        return min(((i, j) for i in rows for j in columns), key=lambda at: error(*at))

    i, j = least(range(0, len(lows), 4), range(0, len(highs), 4))  # coarsely, then around it
    i, j = least(range(max(i - 3, 0), min(i + 4, len(lows))), range(max(j - 3, 0), min(j + 4, len(highs))))
    return float(lows[i]), float(highs[j])


def functional_ranges(fp32, histograms, clipping: float = 4.0) -> dict[str, tuple[float, float]]:
    """Ranges {tensor: (rmin, rmax)} by least error after what follows, not of the tensor itself.

    A SiLU's input by `silu_range` with this `clipping`, σ in 0…1, pictures in 0…1. Of a cut YOLOv8's outputs, class
    logits from −7 (no detector keeps σ < 0.001) to ½ past the largest seen, DFL logits from −4 (softmax forgets what
    lies far below the peak) to the largest seen (the peak is the answer). The rest by `calibrate.mse`. No labels.
    """
    model = float_model(fp32)
    ranges = {t: calibrate.mse(h) for t, h in histograms.items()}
    for x, gate, _ in silu_blocks(model):
        ranges[x], ranges[gate] = silu_range(histograms[x], clipping=clipping), (0.0, 1.0)
    for name in (i.name for i in model.graph.input):
        if histograms[name].min >= 0 and histograms[name].max <= 1:
            ranges[name] = (0.0, 1.0)
    outputs = [(o.name, [d.dim_value for d in o.type.tensor_type.shape.dim]) for o in model.graph.output]
    if found := head.of_outputs(outputs):
        for box, score in zip(found.boxes, found.scores, strict=True):
            ranges[box] = max(histograms[box].min, -4.0), max(histograms[box].max, 0.0)
            ranges[score] = max(histograms[score].min, _SEEN), max(histograms[score].max + 0.5, 0.0)
    return ranges


def correct_bias(fp32, qdq_model, feeds, out) -> Path:
    """Move each bias by what rounding the weights costs on the mean input: b + (w − ŵ)·E[x], per output channel.

    E[x] comes from the float model, so the order of layers does not matter. Correcting what quantized *activations*
    cost as well made YOLOv8n worse: the means agree then, but at objects, which are rare, they are off.
    Raises ValueError where the two models do not belong together. Source: Nagel et al., "Data-Free
    Quantization", 2019, section 4.2.
    """
    return rewrite(fp32, qdq_model, feeds, out, lambda w, s, _: np.clip(np.rint(w / s[:, None]), -127, 127))


def round_adaptively(fp32, qdq_model, feeds, out) -> Path:
    """Round weights, one convolution at a time, so that its output, not the weight itself, changes least.

    min Σ (x·w − x·ŵ)² over the float model's inputs x; `rounding.round_rows` has the equation. Biases are corrected
    as in `correct_bias`. Scales and activations stay. Raises ValueError where the models do not belong together.
    Source: Nagel et al., "Up or Down?", 2020 (the aim); Frantar et al., "GPTQ", 2023 (the closed form).
    """
    return rewrite(fp32, qdq_model, feeds, out, round_rows)


def equalize(fp32, out) -> Path:
    """Level the channels between two convolutions: w₁ᵢ/sᵢ, sᵢ·w₂ᵢ with sᵢ = √(max|w₁ᵢ|/max|w₂ᵢ|); outputs are the same.

    Exact only where nothing but Relu or nothing lies between: f(s·x) = s·f(x) holds for it, not for SiLU, so a graph
    without such a pair raises ValueError, YOLOv8 among them. Source: Nagel et al. 2019, section 4.1.

    >>> equalize("data/scenes.onnx", "unused.onnx")
    Traceback (most recent call last):
    ValueError: data/scenes.onnx: no two convolutions with only Relu between them; SiLU does not let a scale through.
    """
    model = float_model(fp32)
    stored, tensors = constants(model), {t.name: t for t in model.graph.initializer}
    readers = {}
    for node in model.graph.node:
        for t in node.input:
            readers.setdefault(t, []).append(node)
    kept = {o.name for o in model.graph.output}
    found = 0
    for first in [n for n in model.graph.node if n.op_type == "Conv" and n.input[1] in tensors]:
        t = first.output[0]
        while t not in kept and len(readers[t]) == 1 and readers[t][0].op_type == "Relu":
            t = readers[t][0].output[0]
        second = readers[t][0] if t not in kept and len(readers[t]) == 1 else None
        if second is None or second.op_type != "Conv" or second.input[1] not in tensors or second.input[0] != t:
            continue
        names = first.input[1], second.input[1]
        if stored[names[1]].shape[1] != len(stored[names[0]]) or any(len(readers[n]) > 1 for n in names):
            continue  # grouped, or weights that another node shares
        w1, w2 = stored[names[0]], stored[names[1]]
        r1, r2 = np.abs(w1).max((1, 2, 3)), np.abs(w2).max((0, 2, 3))
        s = np.where((r1 > 0) & (r2 > 0), np.sqrt(np.where(r2 > 0, r1, 1) / np.where(r2 > 0, r2, 1)), 1)
        s = np.where(s > 0, s, 1).astype(np.float32)
        stored[names[0]], stored[names[1]] = w1 / s[:, None, None, None], w2 * s[:, None, None]
        if len(first.input) > 2:
            stored[first.input[2]] = stored[first.input[2]] / s
        for name in (*first.input[1:], names[1]):
            tensors[name].CopyFrom(numpy_helper.from_array(stored[name].astype(np.float32), name))
        found += 1
    if not found:
        text = "no two convolutions with only Relu between them; SiLU does not let a scale through."
        raise ValueError(f"{fp32}: {text}")
    return save_model(model, out)


def search_a16(fp32, ranges, wide, feeds, *, share: float = _SHARE, tries: int = 4, target: str = "cpu") -> list[dict]:
    """Which tensors of a cut YOLOv8 to give 16 bits: the Pareto front [{"a16": tensors, "drift": Drift}], growing.

    Greedy: of the first `tries` SiLU blocks (x, σ, x·σ and a Split behind) from the input on that are left, and the
    DFL logits, the one that lowers `Drift.total` most joins, until `share` of all tensors is spent (copies of 8-bit
    inputs counted) or nothing helps. The first, because what goes wrong there is carried through everything behind.
    `wide` {tensor: (rmin, rmax)} is what 16 bits cover. `target`: 'cpu' is quick, 'htp' exact; 'integer' has no uint16.
    """
    model, ranges = float_model(fp32), dict(ranges)
    splits = {n.input[0]: list(n.output) for n in model.graph.node if n.op_type == "Split"}
    blocks = [[*b, *splits.get(b[2], [])] for b in silu_blocks(model)]
    outputs = [o.name for o in model.graph.output]
    feeds, limit, front = again(feeds), int(share * len(ranges)), []
    seen = look(fp32, feeds)
    with tempfile.TemporaryDirectory() as work:

        def measure(names):
            path = Path(work) / "try.onnx"
            qdq.quantize_model(fp32, path, ranges | {t: wide[t] for t in names}, a16=names)
            found = [qp.dtype for qp in qdq.list_qparams(path).values() if qp.axis is None]
            return drift_from(seen, path, feeds, target), found.count("uint16")

        chosen = []
        front.append({"a16": [], "drift": measure([])[0]})
        with tqdm(desc="search_a16", unit="model") as bar:
            while True:
                left = [b for b in blocks if b[0] not in chosen][:tries] + [outputs[::2]] * (outputs[0] not in chosen)
                found = []
                for block in [b for b in left if len(chosen) + len(b) <= limit]:
                    value, count = measure(chosen + block)
                    found += [(value, block)] * (count <= limit)  # 8-bit inputs are copied to 16 bits: copies count too
                    bar.update()
                if not found:
                    break
                best, block = min(found, key=lambda f: f[0].total)
                if best.total >= front[-1]["drift"].total:
                    break
                chosen = chosen + block
                front.append({"a16": chosen, "drift": best})
    return front


class _Tried:
    """Models that were measured: each in a file of its own in `folder`, against what was `seen` in `feeds`."""

    def __init__(self, folder, seen, feeds):
        self.folder, self.seen, self.feeds = Path(folder), seen, feeds
        self.steps, self.kept, self.start = [], None, time.perf_counter()

    def file(self) -> Path:
        return self.folder / f"{len(self.steps)}.onnx"

    def measure(self, path) -> Drift:
        return drift_from(self.seen, path, self.feeds)

    def note(self, step: str, path: Path, drift: Drift, ranges: dict, a16=()) -> None:
        """Write the step down; `kept` is the one with the least drift, the earlier one where two are equal."""
        seconds = round(time.perf_counter() - self.start, 1)
        self.steps.append({"step": step, **drift._asdict(), "seconds": seconds})
        if self.kept is None or drift.total < self.kept["drift"].total:
            self.kept = {"step": step, "path": path, "drift": drift, "ranges": ranges, "a16": list(a16)}


def _try_ranges(tried: _Tried, fp32, histograms) -> None:
    """Note MinMax, MSE and, of `functional_ranges` with several weights on clipping, the best one."""
    for method in (calibrate.minmax, calibrate.mse):
        ranges = {t: method(h) for t, h in histograms.items()}
        path = qdq.quantize_model(fp32, tried.file(), ranges)
        tried.note(f"{method.__name__} ranges", path, tried.measure(path), ranges)
    found = []
    for clipping in (1.0, 2.0, 4.0, 8.0, 16.0):  # how much clipping adds up differs between networks
        ranges = functional_ranges(fp32, histograms, clipping)
        path = qdq.quantize_model(fp32, tried.folder / f"clipping{clipping}.onnx", ranges)
        found.append((tried.measure(path), clipping, path, ranges))
    least, clipping, path, ranges = min(found, key=lambda f: f[0].total)
    tried.note(f"by what follows, clipping × {clipping:g}", path, least, ranges)


def best(fp32, feeds, out, *, probe: int = 20, rounding: int = 16, share: float = _SHARE) -> dict:
    """The recipe for a cut YOLOv8, A8W8 with at most `share` of its tensors at 16 bits; writes the best that it saw.

    MinMax, MSE and `functional_ranges`; from the best of these `search_a16`, then `round_adaptively` with `rounding`
    feeds. Every third feed, at most `probe`, is held back and judges each step; of fewer than 8, all calibrate and
    some judge too (`judge` says so). Feeds are read again at each step, never all held.

    The report: {"steps": [{"step", "score", "box", "seconds"}], "kept": the step written to `out`, its "a16" and
    "ranges", "calibrated_on" and "judged_on": indices of feeds, "judge": a sentence}; score and box are `Drift`'s.
    Raises ValueError as `calibrate.observe` and `qdq.quantize_model` do, for a generator, for a graph that is no cut
    YOLOv8, and where the float model sees nothing in the feeds that judge: every choice would be blind.
    """
    out, (calibrating, judging) = Path(out), hold_back(feeds, probe)
    seen = look(fp32, judging)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent) as work:  # `out` is written whole, at the end
        tried = _Tried(work, seen, judging)
        histograms = calibrate.observe(fp32, calibrating, partial=False)
        _try_ranges(tried, fp32, histograms)
        ranges, wide = tried.kept["ranges"], {t: calibrate.minmax(h) for t, h in histograms.items()}
        front = search_a16(fp32, ranges, wide, judging, share=share)
        a16, ranges = front[-1]["a16"], ranges | {t: wide[t] for t in front[-1]["a16"]}
        path = qdq.quantize_model(fp32, tried.file(), ranges, a16=a16)
        tried.note(f"{len(a16)} of {len(ranges)} tensors at 16 bits", path, front[-1]["drift"], ranges, a16)
        path = round_adaptively(fp32, path, calibrating.spread(rounding), tried.file())
        tried.note("weights rounded with inputs in view", path, tried.measure(path), ranges, a16)
        os.replace(tried.kept["path"], out)
    if set(judging.indices) & set(calibrating.indices):
        judge = f"judged on {len(judging)} inputs that also calibrated; give 8 or more, and a third is held back"
    else:
        judge = f"judged on {len(judging)} inputs held back from calibration, which had {len(calibrating)}"
    return {
        "steps": tried.steps,
        "kept": tried.kept["step"],
        "judge": judge,
        "calibrated_on": calibrating.indices,
        "judged_on": judging.indices,
        "a16": tried.kept["a16"],
        "ranges": tried.kept["ranges"],
    }
