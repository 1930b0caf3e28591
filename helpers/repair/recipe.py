"""The repairs one after another, each measured."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from helpers import calibrate, qdq
from helpers.calibrate import Histogram
from helpers.graph import StrPath
from helpers.qdq.choose import RangeTrials
from helpers.qdq.holdout import Part, hold_back
from helpers.repair.equalize import channel_maxima, equalize
from helpers.repair.judge import Judge
from helpers.repair.ranges import FunctionalRanges
from helpers.repair.rounding import fit_weight_scales, round_adaptively
from helpers.repair.rows import CODES
from helpers.repair.search import SHARE, search_a16
from helpers.tasks import recognise
from helpers.tasks.task import Range

CLIPPINGS = (2.0, 4.0, 8.0, 16.0, 64.0)  # how much clipping adds up differs between networks
_RUNS = 500  # of the model: 10 candidates on 10 inputs, 5 steps and some 15 sets of 16-bit tensors on 20


class _Tried:
    """Models that were measured: each a file in `folder`, made from the float model `fp32`, judged by `judge`."""

    def __init__(self, folder: StrPath, judge: Judge, fp32: Path):
        self.folder, self.judge, self.fp32 = Path(folder), judge, fp32
        self.steps: list[dict[str, Any]] = []
        self.kept: Any = None
        self.wide: dict[str, Range] = {}  # what 16 bits cover in `fp32`
        self.start = time.perf_counter()

    def file(self) -> Path:
        return self.folder / f"{len(self.steps)}.onnx"

    def note(self, step: str, path: Path, ranges: Mapping[str, Range], a16=()) -> None:
        """Measure and write the step down; `kept` is the one with the least drift, the earlier one of equals."""
        drift, seconds = self.judge.full(path), round(time.perf_counter() - self.start, 1)
        self.steps.append({"step": step, **drift._asdict(), "seconds": seconds})
        if self.kept is None or drift.total < self.kept["drift"].total:
            told = {"ranges": dict(ranges), "a16": list(a16), "fp32": self.fp32, "wide": self.wide}
            self.kept = {"step": step, "path": path, "drift": drift} | told


def _try_ranges(tried: _Tried, histograms: Mapping[str, Histogram], what: str = "") -> None:
    """Note MinMax, the best of all methods, and on its ranges those by what follows, the best weight on clipping.

    `what`: a word on the model behind the steps' names; with one, nothing is noted where no method is better than
    what is kept.
    """
    judge, fp32, found = tried.judge, tried.fp32, {n: calibrate.ranges(histograms, n) for n in calibrate.METHODS}
    patched = RangeTrials(fp32, found["minmax"], judge.task, judge.few_seen, judge.few).with_ranges
    totals = {name: judge.quick(patched(ranges)).total for name, ranges in found.items()}
    best, tried.wide = min(totals, key=lambda name: totals[name]), found["minmax"]
    followed = _followed(fp32, histograms, [found[name] for name in dict.fromkeys(("mse", best))])
    # They differ by little, so all that judges is asked.
    after = [(judge.full(patched(ranges)).total, clipping, ranges) for clipping, ranges in followed]
    if what and min([totals[best], *(f[0] for f in after)]) >= judge.quick(tried.kept["path"]).total:
        return
    for name in [best] if what else dict.fromkeys(("minmax", best)):
        path = qdq.quantize_model(fp32, tried.file(), found[name])
        tried.note(f"{calibrate.METHODS[name].label} ranges{what}", path, found[name])
    if after:
        _, clipping, ranges = min(after, key=lambda f: f[0])
        path = qdq.quantize_model(fp32, tried.file(), ranges)
        tried.note(f"by what follows, clipping × {clipping:g}{what}", path, ranges)


def _try_levelled(tried: _Tried, calibrating: Part) -> None:
    """Note ranges of the same network with its channels levelled, where some can be and it pays."""
    whole, maxima = tried.fp32, channel_maxima(tried.fp32, calibrating)
    if not maxima:
        return
    tried.fp32 = equalize(whole, tried.folder / "levelled.onnx", maxima)
    _try_ranges(tried, calibrate.observe(tried.fp32, calibrating, partial=False), ", channels levelled")
    tried.fp32, tried.wide = tried.kept["fp32"], tried.kept["wide"]


def _followed(
    fp32: Path, histograms: Mapping[str, Histogram], bases: Iterable[Mapping[str, Range]]
) -> list[tuple[float, dict[str, Range]]]:
    """(weight on clipping, ranges) of `FunctionalRanges` on each of `bases`; none where they are the base itself."""
    functional, found = FunctionalRanges(fp32, histograms), []
    for base in bases:
        some = [
            (clipping, functional(clipping, base)) for clipping in (CLIPPINGS if functional.errors else CLIPPINGS[:1])
        ]
        found += some if any(ranges != base for _, ranges in some) else []
    return found


def _try_int4(tried: _Tried, feeds: Part) -> None:
    """Note the weights in 4 bits: to nearest, and with the scales that fit their inputs; only these may be kept now."""
    ranges, a16, fp32 = tried.kept["ranges"], tried.kept["a16"], tried.fp32
    tried.kept = None
    path = qdq.quantize_model(fp32, tried.file(), ranges, weight="int4", a16=a16)
    tried.note("weights in 4 bits, to nearest", path, ranges, a16)
    path = fit_weight_scales(fp32, path, feeds, tried.file())
    tried.note("weights' scales by least error behind", path, ranges, a16)


def _try_a16(tried: _Tried, share: float) -> None:
    """Note the best ranges with a few tensors at 16 bits."""
    ranges, wide, judge, fp32 = tried.kept["ranges"], tried.kept["wide"], tried.judge, tried.fp32
    front = search_a16(fp32, ranges, wide, judge.feeds, share=share, seen=judge.seen)
    a16 = front[-1]["a16"]
    if a16:
        mixed = ranges | {t: wide[t] for t in a16}
        path = qdq.quantize_model(fp32, tried.file(), mixed, a16=a16)
        tried.note(f"{len(a16)} of {len(ranges)} tensors at 16 bits", path, mixed, a16)


def quantize_best(
    fp32: StrPath,
    feeds: Any,
    out: StrPath,
    *,
    weight: str = "int8",
    probe: int = 20,
    rounding: int = 16,
    share: float = SHARE,
    levelled: StrPath | None = None,
) -> dict[str, Any]:
    """The recipe for a prepared model, A8W8 with at most `share` of its tensors at 16 bits; writes the best it saw.

    MinMax, the best method of `calibrate.METHODS`, `FunctionalRanges` on its ranges; from the best of these
    `search_a16`, then `round_adaptively` with `rounding` feeds. How long it will take is said on stderr. For `weight`
    "int4" all but the rounding is measured with 8-bit weights, whose errors do not drown those of activations; then
    come 4 bits to nearest, `fit_weight_scales`, and the rounding, the best of which is kept.
    With `levelled`, a path, the same network with its channels levelled (`equalize`) is tried as well; where it is
    kept, `out` belongs to the float model that is then written to this path.
    Every third feed, at most `probe`, is held back and judges each step; of fewer than 8, all calibrate and some judge
    too (`judge` says so). Feeds are read again at each step, never all held.

    The report: {"steps": [{"step", the drift's parts, "seconds"}], "kept": the step written to `out`, its "a16" and
    "ranges", "calibrated_on" and "judged_on": indices of feeds, "judge": a sentence}; a detector's drift has
    score and box.
    Raises ValueError for another `weight`, as `calibrate.observe` and `qdq.quantize_model` do, for a generator, and
    where the float model sees nothing in the feeds that judge: every choice would be blind.
    """
    if weight not in CODES:
        raise ValueError(f"weights of dtype '{weight}' have no recipe; choose one of {', '.join(CODES)}.")
    out, (calibrating, judging) = Path(out), hold_back(feeds, probe)
    judge = Judge(fp32, recognise(fp32), judging)
    estimate = judge.seconds * (_RUNS + 4 * len(calibrating) + 8 * min(rounding, len(calibrating)))
    tqdm.write(f"recipe best: about {estimate:.0f} s, as one input takes {judge.seconds:.3f} s", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent) as work:  # `out` is written whole, at the end
        tried = _Tried(work, judge, Path(fp32))
        _try_ranges(tried, calibrate.observe(fp32, calibrating, partial=False))
        if levelled is not None:
            _try_levelled(tried, calibrating)
        _try_a16(tried, share)
        few = calibrating.spread(rounding)
        if weight == "int4":
            _try_int4(tried, few)
        path = round_adaptively(tried.fp32, tried.kept["path"], few, tried.file())
        tried.note("weights rounded with inputs in view", path, tried.kept["ranges"], tried.kept["a16"])
        if levelled is not None and tried.fp32 != Path(fp32):
            os.replace(tried.fp32, levelled)
        os.replace(tried.kept["path"], out)
    if set(judging.indices) & set(calibrating.indices):
        told = f"judged on {len(judging)} inputs that also calibrated; give 8 or more, and a third is held back"
    else:
        told = f"judged on {len(judging)} inputs held back from calibration, which had {len(calibrating)}"
    return {
        "steps": tried.steps,
        "kept": tried.kept["step"],
        "judge": told,
        "calibrated_on": calibrating.indices,
        "judged_on": judging.indices,
        "a16": tried.kept["a16"],
        "ranges": tried.kept["ranges"],
    }
