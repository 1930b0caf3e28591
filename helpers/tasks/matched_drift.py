"""Drift of a detector whose head is not known place by place: box against box, as they come out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from helpers.boxes import match
from helpers.graph import Feed
from helpers.tasks.drift import Drift, blind

_SEES = 0.1  # the score from which on a box counts
_ANY = 0.001  # and from which on one is looked for in the quantized model


def reference_results(task: Any, runner: Any, feeds: Iterable[Feed]) -> list[Any]:
    """What a float model's `detection.Detector` sees in each feed from a score of 0.1 on; ValueError for nothing."""
    seen = [runner.read(runner.session.run(None, feed), _SEES) for feed in feeds]
    if not any(len(task.boxes(each)[1]) for each in seen):
        raise blind(len(seen))
    return seen


def drift_of_results(seen: Iterable[Any], task: Any, runner: Any, feeds: Iterable[Feed]) -> Drift:
    """Mean |change of score| and mean 1 − likeness over what `reference_results` saw.

    Boxes are matched one to one, same class, IoU ≥ 0.5; a lost one changes by its score, and by 1.
    """
    changes, unlike = [], []
    for before, feed in zip(seen, feeds, strict=True):
        after = runner.read(runner.session.run(None, feed), _ANY)
        reference, test = task.boxes(before), task.boxes(after)
        partner = dict(match(reference, test))
        for i, score in enumerate(reference[1]):
            j = partner.get(i)
            changes.append(score if j is None else abs(score - test[1][j]))
            unlike.append(1.0 if j is None else 1 - task.likeness(before, i, after, j))
    return Drift(float(np.mean(changes)), float(np.mean(unlike)))
