"""Who says which of two models is better: the task's drift, on inputs that nothing was calibrated on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from helpers.graph import Model, StrPath
from helpers.qdq.holdout import Part, spread
from helpers.tasks import Task

_FEW = 10  # inputs that tell candidates apart; what is kept is measured on all of them


class Judge:
    """The drift of quantized models on `feeds`, quickly on a few of them, or on all; `seconds` a float run takes.

    `seen` and `few_seen` are what the float model says of all of them and of the few. Raises ValueError where the
    float model gives nothing to judge.
    """

    def __init__(self, fp32: StrPath, task: Task, feeds: Part):
        self.task, self.feeds = task, feeds
        start = time.perf_counter()
        self.seen = task.reference_outputs(fp32, feeds)
        self.seconds = (time.perf_counter() - start) / len(feeds)
        indices = spread(len(feeds), _FEW)
        self.few, self.few_seen = Part(feeds, indices), [self.seen[i] for i in indices]
        try:
            task.drift_against(self.few_seen, fp32, self.few)
        except ValueError:  # the few hold nothing to judge by, all of them do
            self.few, self.few_seen = Part(feeds, range(len(feeds))), self.seen

    def quick(self, model: Model | Path) -> Any:
        """The drift on a few inputs."""
        return self.task.drift_against(self.few_seen, model, self.few)

    def full(self, model: Model | Path) -> Any:
        """The drift on all inputs."""
        return self.task.drift_against(self.seen, model, self.feeds)
