"""Concats and sums whose inputs are too unlike for one scale: found from histograms, mended by what measures best."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers import calibrate
from helpers.affine import choose_qparams
from helpers.calibrate import Histogram, RangeCost
from helpers.graph import Feed, Model, ModelLike, StrPath, float_model, rest_of, split_graph
from helpers.qdq.quantize import quantize_model
from helpers.tasks import recognise
from helpers.tasks.completed import load_completed
from helpers.tasks.last_layers import Walk

_LEAST = 20.0  # dB: an input that loses this much is as good as gone, having 30 to 50 alone
_NEAR = 0.95  # a candidate must be 5 % better than the one before it, which is the simpler


class MixedScale(NamedTuple):
    """An `input` of a node (by name) that makes `output`: its SQNR in dB at a scale of its own, and at the output's."""

    node: str
    op: str
    input: str
    output: str
    own_db: float
    shared_db: float

    @property
    def lost_db(self) -> float:
        """What the shared scale costs this input."""
        return self.own_db - self.shared_db


def mixed_scales(model: ModelLike, histograms: Mapping[str, Histogram], least: float = _LEAST) -> list[MixedScale]:
    """Inputs of a Concat or Add that lose `least` dB or more at their output's scale, the greatest loss first.

    `histograms` are those of `calibrate.observe`. A Concat's producers write at its scale, and what an Add adds is
    known to its result in steps of the result's scale. A Mul is left out: each factor keeps its own scale.
    Both SQNR are those of 8 bits over min … max, read off the histogram. Inputs of zeros lose nothing.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[1,2] x, float[1,2] s) => (float[1,4] y)
    ...     { y = Concat<axis=1>(x, s) }''')
    >>> boxes, scores = np.linspace(0, 640, 500), np.linspace(0, 1, 500)
    >>> all_of = {"x": boxes, "s": scores, "y": np.append(boxes, scores)}
    >>> [found] = mixed_scales(net, {t: Histogram().update(v) for t, v in all_of.items()})
    >>> found.input, round(found.own_db), round(found.shared_db)
    ('s', 54, 0)
    """
    graph, found = Model.of(model), []
    for k, node in enumerate(graph.nodes):
        output = node.output[0]
        if node.op_type not in ("Concat", "Add") or output not in histograms:
            continue
        shared = choose_qparams(*histograms[output].range)
        for tensor in dict.fromkeys(t for t in node.input if t in histograms):
            low, high = histograms[tensor].range
            if low == high == 0:
                continue
            cost = RangeCost(histograms[tensor])
            own, at_shared = cost.sqnr_db(choose_qparams(low, high)), cost.sqnr_db(shared)
            if own - at_shared >= least:
                name = node.name or f"{node.op_type}_{k}"
                found.append(MixedScale(name, node.op_type, tensor, output, own, at_shared))
    return sorted(found, key=lambda place: -place.lost_db)


class SplitScales(NamedTuple):
    """What `split_scales` wrote: the float graph to quantize, tensors for 16 bits, and the loss of each candidate."""

    fp32: Path
    a16: list[str]
    chosen: str
    losses: dict[str, float]


def split_scales(
    model: ModelLike,
    histograms: Mapping[str, Histogram],
    feeds: Sequence[Feed],
    out: StrPath,
    *,
    least: float = _LEAST,
    loss: Callable[[Path, Path], float] | None = None,
) -> SplitScales:
    """Write a float graph to `out` that no mixed scale spoils, chosen among these by measured loss on `feeds`:

    `as it is`; `cut before`: the mixed nodes and all behind them become the float rest of `graph.split_graph`, so that
    their inputs are outputs with scales of their own; `cut at the last layers`: the rest begins where nothing learned
    is left; `16 bits`: the mixed outputs and all behind them. Cuts are tried at places that no learned layer follows.

    Where learned layers follow, the mixed output itself is tried in 16 bits, the worst four, one after the other.

    `loss` takes the paths of a float and a quantized graph of one cut. Without it that is the drift of the model's
    task, or, where no task knows the outputs, `channel_noise`. A later candidate must be 5 % better to be taken.
    Raises ValueError for a model that is quantized or cut already, and without `feeds`.
    """
    graph, feeds = float_model(model), list(feeds)
    if not feeds:
        raise ValueError(f"{graph}: no inputs to measure with; give a few that set no range.")
    if rest_of(graph) is not None:
        raise ValueError(f"{graph}: is cut already; give the model that it was cut from.")
    walk = Walk(graph)
    late, early = list[str](), list[str]()
    for output in dict.fromkeys(place.output for place in mixed_scales(graph, histograms, least)):
        followed = any(walk.is_layer(graph.producers[t]) for t in _behind(graph, [output]))
        (early if followed else late).append(output)
    measure, losses = loss or _task_loss(graph, feeds), dict[str, float]()
    best = _Candidate("as it is", graph.with_stored_constants(), [])
    losses[best.name] = _loss(best, histograms, measure)
    for found in _late_candidates(graph, late):
        losses[found.name] = _loss(found, histograms, measure)
        best = found if losses[found.name] < _NEAR * losses[best.name] else best
    for output in [t for t in early if t in best.graph.producers][:4]:
        found = best._replace(name=f"{best.name}, 16 bits for {output}", a16=[*best.a16, output])
        losses[found.name] = _loss(found, histograms, measure)
        best = found if losses[found.name] < _NEAR * losses[best.name] else best
    return SplitScales(best.graph.save(out), best.a16, best.name, losses)


class _Candidate(NamedTuple):
    name: str
    graph: Model
    a16: list[str]


def _loss(candidate: _Candidate, histograms: Mapping[str, Histogram], measure: Callable[[Path, Path], float]) -> float:
    """`measure` of a candidate, quantized with min … max of each tensor."""
    graph = candidate.graph
    known = {t: h for t, h in histograms.items() if t in graph.producers or t in graph.inputs}
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = graph.save(Path(folder) / "fp32.onnx"), Path(folder) / "int8.onnx"
        return measure(fp32, quantize_model(fp32, int8, calibrate.ranges(known, "minmax"), a16=candidate.a16))


def _late_candidates(graph: Model, mixed: list[str]) -> Iterable[_Candidate]:
    """What can be done about mixed outputs that no learned layer follows, the simplest first."""
    if not mixed:
        return
    behind = _behind(graph, mixed)
    before = [t for out in mixed for t in graph.producers[out].input if t in graph.producers and t not in behind]
    cuts = {"cut before": before, "cut at the last layers": Walk(graph).layers(graph.outputs)}
    for name, tensors in cuts.items():
        try:
            yield _Candidate(name, split_graph(graph, tensors), [])
        except ValueError:  # the rest would need an input of the graph
            continue
    yield _Candidate("16 bits", graph.with_stored_constants(), sorted(behind))


def _behind(graph: Model, tensors: Iterable[str]) -> set[str]:
    """`tensors`, and everything that is made of them."""
    found = set(tensors)
    for node in graph.nodes:
        if found & set(node.input):
            found |= {t for t in node.output if t}
    return found


def _task_loss(graph: Model, feeds: list[Feed]) -> Callable[[Path, Path], float]:
    """The drift of the graph's task on `feeds`; `channel_noise` for the task of last resort."""
    task = recognise(graph)
    if task.last_resort:
        session = load_completed(graph, optimize=True)
        reference = [session.run(None, feed) for feed in feeds]
        return lambda fp32, int8: channel_noise(reference, _runs(int8, feeds))

    def drift(fp32: Path, int8: Path) -> float:
        return float(task.drift_against(task.reference_outputs(fp32, feeds), int8, feeds).total)

    return drift


def _runs(path: Path, feeds: list[Feed]) -> list[list[Any]]:
    session = load_completed(path)
    return [session.run(None, feed) for feed in feeds]


def channel_noise(reference: Sequence[Sequence[Any]], test: Sequence[Sequence[Any]]) -> float:
    """Mean over outputs and their channels of min(1, Σ (a − b)² / Σ a²), so that a small channel counts as a large one.

    Channels are the second axis of four, else the shortest longer than one; both hold a list of outputs for each feed.

    >>> a, b = np.float32([[[100, 100, 100], [1, 1, 1]]]), np.float32([[[100, 100, 100], [0, 0, 0]]])
    >>> channel_noise([[a]], [[b]])
    0.5
    """
    shares = []
    for outputs in zip(*(zip(a, b, strict=True) for a, b in zip(reference, test, strict=True)), strict=True):
        one, other = (np.stack([np.asarray(pair[k], np.float64) for pair in outputs]) for k in (0, 1))
        axes = [k for k in range(1, one.ndim) if one.shape[k] > 1]
        axis = 2 if one.ndim == 5 else min(axes, key=lambda k: one.shape[k], default=0)
        rest = tuple(k for k in range(one.ndim) if k != axis)
        signal, noise = (one**2).sum(rest), ((one - other) ** 2).sum(rest)
        shares.append(np.minimum(noise / np.maximum(signal, 1e-30), 1).mean())
    return float(np.mean(shares))
