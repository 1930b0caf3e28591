"""How long a model takes on a target, where its time is that of the real thing."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from helpers.graph import Feed, StrPath
from helpers.targets.target import get, load


class Latency(NamedTuple):
    """Milliseconds of one run, inputs and outputs included: median, 10th and 90th percentile of `runs` warm runs.

    `options` are those of the session, such as the power mode.
    """

    median: float
    low: float
    high: float
    runs: int
    options: dict[str, str]


def latency(path: StrPath, feed: Feed, target: str, runs: int = 50, warm: int = 10) -> Latency:
    """The time of a model on a target at its full power, after `warm` runs that do not count.

    Raises RuntimeError for a target that is emulated, whose time says nothing, and as `load` does.

    >>> from helpers import assets, tasks
    >>> one = latency(assets.model(), tasks.Feeds(assets.images()[:1], assets.model())[0], "cpu", runs=2, warm=0)
    >>> one.low <= one.median <= one.high, one.options
    (True, {})
    """
    chosen = get(target)
    if chosen.emulated():
        raise RuntimeError(f"target '{target}' is emulated here, so its time says nothing; measure where it is real.")
    session = load(path, target, **chosen.full_power)
    taken = []
    for k in range(warm + runs):
        start = time.perf_counter()
        session.run(None, feed)
        if k >= warm:
            taken.append(1000 * (time.perf_counter() - start))
    low, median, high = np.percentile(taken, (10, 50, 90)).tolist()
    return Latency(median, low, high, runs, dict(chosen.full_power))
