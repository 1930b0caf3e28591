"""Which few tensors to give 16 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from helpers import qdq
from helpers.graph import Model, StrPath, float_model
from helpers.graph.qparams import shared_scale
from helpers.qdq.holdout import again
from helpers.repair.functions import function_blocks
from helpers.tasks import recognise
from helpers.tasks.task import Range

SHARE = 0.05  # of the activation tensors, 16 bits wide
_LOUD_FEEDS = 2  # inputs that say which tensors lose most


def search_a16(
    fp32: StrPath,
    ranges: Mapping[str, Range],
    wide: Mapping[str, Range],
    feeds: Any,
    *,
    share: float = SHARE,
    tries: int = 4,
    target: str = "cpu",
    seen: Any = None,
) -> list[dict[str, Any]]:
    """Which tensors to give 16 bits: the Pareto front [{"a16": tensors, "drift": the task's drift}], growing.

    Candidates are the first `tries` activation functions from the input on that are left (what goes wrong there is
    carried through everything behind), where there are none the tensors with the least SQNR of their own codes, and
    what the task puts first (a detector's DFL logits). Greedy: the one that lowers the drift's `total` most joins,
    until `share` of all tensors is spent (copies of 8-bit inputs counted) or nothing helps. Tensors that store one
    scale go together. `wide` {tensor: (rmin, rmax)} is what 16 bits cover. `target`: 'cpu' is quick, 'htp' exact.
    `seen`: what `Task.reference_outputs` gave for the feeds, if it is known.

    Raises ValueError as `holdout.again`, `Task.reference_outputs` and `qdq.quantize_model` do.
    """
    model, feeds, limit = float_model(fp32), again(feeds), int(share * len(ranges))
    task = recognise(model)
    trial = _Trial(fp32, ranges, wide, target, task, feeds, seen)
    chosen: list[str] = []
    least, _ = trial.measure([])
    front: list[dict[str, Any]] = [{"a16": [], "drift": least}]
    if not limit or not trial.groups:
        return front
    candidates = _Candidates(model, trial, task.wide_first(model), tries)
    with tqdm(desc="search_a16", unit="model") as bar:
        while True:
            found = []
            for block in candidates.left(chosen, limit):
                drift, count = trial.measure(chosen + block)
                bar.update()
                if count <= limit:  # 8-bit inputs are copied to 16 bits, and the copies count
                    found.append((drift, block))
            if not found:
                return front
            best, block = min(found, key=lambda f: f[0].total)
            if best.total >= least.total:
                return front
            chosen, least = chosen + block, best
            front.append({"a16": chosen, "drift": best})


class _Trial:
    """The model with some tensors at 16 bits, written and measured."""

    def __init__(self, fp32, ranges, wide, target, task, feeds, seen):
        self.fp32, self.ranges, self.wide, self.target, self.task = fp32, ranges, wide, target, task
        self.feeds, self.seen = feeds, task.reference_outputs(fp32, feeds) if seen is None else seen
        self.own: dict[str, float] = {}  # SQNR of each tensor's own codes, dB
        self.groups: dict[str, tuple[str, ...]] = {}

    def measure(self, names: list[str]) -> tuple[Any, int]:
        """(drift, number of 16-bit tensors) with these at 16 bits."""
        with tempfile.TemporaryDirectory() as work:
            mixed = {**self.ranges, **{t: self.wide[t] for t in names}}
            path = qdq.quantize_model(self.fp32, Path(work) / "try.onnx", mixed, a16=names)
            dtypes = [qp.dtype for qp in qdq.list_qparams(path).values() if qp.axis is None]
            if not names:
                few = list(islice(iter(self.feeds), _LOUD_FEEDS))
                self.own = qdq.layer_sqnr(self.fp32, path, few, isolated=True, only="activations")
                self.groups = {t: group for group in shared_scale(path) for t in group}
            return self.task.drift_against(self.seen, path, self.feeds, self.target), dtypes.count("uint16")


class _Candidates:
    """Groups of tensors that may get 16 bits, in the order in which they are tried."""

    def __init__(self, model: Model, trial: _Trial, first: list[list[str]], tries: int):
        self.tries = tries
        splits = {n.input[0]: list(n.output) for n in model.nodes if n.op_type == "Split"}
        known = trial.groups
        blocks = [[*b.tensors, *splits.get(b.y, [])] for b in function_blocks(model)]
        self.blocks = [whole for b in blocks if (whole := _together(b, known))]
        owner = {t: block for block in self.blocks for t in block}
        loud = sorted(trial.own, key=lambda t: trial.own[t])
        self.loud = [owner.get(t) or _together([t], known) for t in loud]
        self.first = [whole for group in first if (whole := _together(group, known))]

    def left(self, chosen: list[str], limit: int) -> list[list[str]]:
        """The groups to try next."""
        room = limit - len(chosen)

        def fits(groups: list[list[str]]) -> list[list[str]]:
            return [g for g in groups if g and len(g) <= room and not set(g) & set(chosen)]

        blocks = fits(self.blocks)[: self.tries]
        loud = [] if blocks else fits(self.loud)[: self.tries]
        return list({group[0]: group for group in blocks + loud + fits(self.first)}.values())


def _together(names: list[str], groups: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The names that the graph quantizes, and those that store one scale with them."""
    return list(dict.fromkeys(t for name in names if name in groups for t in groups[name]))
