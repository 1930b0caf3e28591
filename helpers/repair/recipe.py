"""The repairs one after another, each measured."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from helpers import calibrate, qdq
from helpers.repair.holdout import Part, hold_back
from helpers.repair.ranges import functional_ranges
from helpers.repair.rounding import fit_weight_scales, round_adaptively
from helpers.repair.rows import CODES
from helpers.repair.search import SHARE, search_a16
from helpers.tasks import recognise


class _Tried:
    """Models that were measured: each a file in `folder`, against what the float model has `seen` in `feeds`."""

    def __init__(self, folder, task, seen, feeds):
        self.folder, self.task, self.seen, self.feeds = Path(folder), task, seen, feeds
        self.steps, self.kept, self.start = [], None, time.perf_counter()

    def file(self) -> Path:
        return self.folder / f"{len(self.steps)}.onnx"

    def measure(self, path):
        return self.task.drift_against(self.seen, path, self.feeds)

    def note(self, step: str, path: Path, drift, ranges: dict, a16=()) -> None:
        """Write the step down; `kept` is the one with the least drift, the earlier one where two are equal."""
        seconds = round(time.perf_counter() - self.start, 1)
        self.steps.append({"step": step, **drift._asdict(), "seconds": seconds})
        if self.kept is None or drift.total < self.kept["drift"].total:
            self.kept = {"step": step, "path": path, "drift": drift, "ranges": ranges, "a16": list(a16)}


def _try_ranges(tried: _Tried, fp32, histograms) -> None:
    """Note MinMax, MSE and, of `functional_ranges` with several weights on clipping, the best one."""
    for method in ("minmax", "mse"):
        ranges = calibrate.ranges(histograms, method)
        path = qdq.quantize_model(fp32, tried.file(), ranges)
        tried.note(f"{method} ranges", path, tried.measure(path), ranges)
    found = []
    for clipping in (1.0, 2.0, 4.0, 8.0, 16.0):  # how much clipping adds up differs between networks
        ranges = functional_ranges(fp32, histograms, clipping)
        path = qdq.quantize_model(fp32, tried.folder / f"clipping{clipping}.onnx", ranges)
        found.append((tried.measure(path), clipping, path, ranges))
    least, clipping, path, ranges = min(found, key=lambda f: f[0].total)
    tried.note(f"by what follows, clipping × {clipping:g}", path, least, ranges)


def _try_int4(tried: _Tried, fp32, feeds: Part) -> None:
    """Note the weights in 4 bits: to nearest, and with the scales that fit their inputs; only these may be kept now."""
    ranges, a16 = tried.kept["ranges"], tried.kept["a16"]
    tried.kept = None
    path = qdq.quantize_model(fp32, tried.file(), ranges, weight="int4", a16=a16)
    tried.note("weights in 4 bits, to nearest", path, tried.measure(path), ranges, a16)
    path = fit_weight_scales(fp32, path, feeds, tried.file())
    tried.note("weights' scales by least error behind", path, tried.measure(path), ranges, a16)


def quantize_best(
    fp32, feeds, out, *, weight: str = "int8", probe: int = 20, rounding: int = 16, share: float = SHARE
) -> dict:
    """The recipe for a prepared model, A8W8 with at most `share` of its tensors at 16 bits; writes the best it saw.

    MinMax, MSE and `functional_ranges`; from the best of these `search_a16`, then `round_adaptively` with `rounding`
    feeds. For `weight` "int4" all but the rounding is measured with 8-bit weights, whose errors do not drown those
    of activations; then come 4 bits to nearest, `fit_weight_scales`, and the rounding, the best of which is kept.
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
    task = recognise(fp32)
    seen = task.reference_outputs(fp32, judging)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent) as work:  # `out` is written whole, at the end
        tried = _Tried(work, task, seen, judging)
        histograms = calibrate.observe(fp32, calibrating, partial=False)
        _try_ranges(tried, fp32, histograms)
        ranges, wide = tried.kept["ranges"], calibrate.ranges(histograms, "minmax")
        front = search_a16(fp32, ranges, wide, judging, share=share)
        a16, ranges = front[-1]["a16"], ranges | {t: wide[t] for t in front[-1]["a16"]}
        path = qdq.quantize_model(fp32, tried.file(), ranges, a16=a16)
        tried.note(f"{len(a16)} of {len(ranges)} tensors at 16 bits", path, front[-1]["drift"], ranges, a16)
        few = calibrating.spread(rounding)
        if weight == "int4":
            _try_int4(tried, fp32, few)
        ranges, a16 = tried.kept["ranges"], tried.kept["a16"]
        path = round_adaptively(fp32, tried.kept["path"], few, tried.file())
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
