"""Ranges tried on a model: which method loses least on inputs that did not set the ranges."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from helpers import calibrate
from helpers.calibrate import Histogram
from helpers.graph import Feed, Model, ModelLike, float_model, read_model
from helpers.graph.qparams import shared_scale
from helpers.qdq.edit import set_ranges
from helpers.qdq.quantize import quantize_model
from helpers.tasks import Task
from helpers.tasks.task import Range

AUTO = "auto"  # as a method: the one of `calibrate.METHODS` that loses least


class RangeTrials:
    """A model quantized once, whose ranges are changed again and again and measured by its task's drift.

    `seen` is what `task.reference_outputs` said of `feeds`. `how` goes to `quantize_model`. Called with ranges, it
    gives the drift. To change ranges takes a tenth of the time of writing the graph anew.
    """

    def __init__(
        self, fp32: ModelLike, start: Mapping[str, Range], task: Task, seen: Any, feeds: Iterable[Feed], **how: Any
    ):
        self.model, self.task, self.seen, self.feeds, self.how = float_model(fp32), task, seen, feeds, how
        self.proto = self._written(start).proto
        groups = shared_scale(self.proto)
        self.leader = {tensor: group[0] for group in groups for tensor in group}
        self.biases = {n: a for n, a in self.model.constants.items() if a.ndim == 1}

    def __call__(self, ranges: Mapping[str, Range]) -> Any:
        return self.task.drift_against(self.seen, self.with_ranges(ranges), self.feeds)

    def with_ranges(self, ranges: Mapping[str, Range]) -> Model:
        """The quantized graph with these ranges: what `quantize_model` gives, but for a scale's last bit."""
        made = Model(self.proto).copy().proto
        try:
            return Model(set_ranges(made, {t: ranges[leader] for t, leader in self.leader.items()}, self.biases))
        except ValueError:  # a range so small that a bias overflows: the quantizer widens weights' scales for it
            return self._written(ranges)

    def _written(self, ranges: Mapping[str, Range]) -> Model:
        with tempfile.TemporaryDirectory() as work:
            return Model(read_model(quantize_model(self.model, Path(work) / "try.onnx", ranges, **self.how)))


class Chosen(NamedTuple):
    """A method of `calibrate.METHODS`, its ranges, and the drift of each method that was tried, {name: total}."""

    method: str
    ranges: dict[str, Range]
    drifts: dict[str, float]


def choose_method(
    fp32: ModelLike,
    histograms: Mapping[str, Histogram],
    task: Task,
    feeds: Any,
    *,
    seen: Any = None,
    activation: str = "uint8",
    weight: str = "int8",
) -> Chosen:
    """The method of `calibrate.METHODS` whose ranges drift least from the float model on `feeds`, which set no range.

    `seen`: what `task.reference_outputs` gave for these feeds, if it is known. Raises ValueError as that does.
    """
    seen = task.reference_outputs(float_model(fp32), feeds) if seen is None else seen
    found = {name: calibrate.ranges(histograms, name, activation) for name in calibrate.METHODS}
    trials = RangeTrials(fp32, found["minmax"], task, seen, feeds, activation=activation, weight=weight)
    drifts = {name: float(trials(ranges).total) for name, ranges in found.items()}
    best = min(drifts, key=lambda name: drifts[name])
    return Chosen(best, found[best], drifts)
