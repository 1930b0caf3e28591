"""A model under experiment: change one range, see what its results do, keep what was tried."""

from __future__ import annotations

import contextlib
import difflib
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx

from helpers import calibrate, targets, tasks
from helpers.affine import choose_qparams
from helpers.calibrate import RangeCost
from helpers.graph import Model, refuse_overwrite, save_model, sha256
from helpers.workbench.patched_model import PatchedModel

REMEMBERED = 512  # detections, each of up to 300 boxes


class Experiment:
    """A model quantized to A8W8, its ranges open to change, its results held against FP32's.

    `model` is an FP32 path, `pictures` the inputs to judge on, `calibration` those that give the histograms
    (None: the same inputs, which flatters). `task`, recognised from the graph, prepares it (a detector's head is
    cut) and says what results are; `method` gives the first ranges.
    `history` holds a dict for each change: time (s since 1970), what, settings, target, metrics (None until asked).
    Raises ValueError where the model is quantized, FileNotFoundError for a missing file.

    >>> from helpers import assets
    >>> bench = Experiment(assets.model(), assets.images("validation")[:1], assets.images("calibration")[:2])
    >>> bench.set_method(bench.tensors[0], "mse")
    >>> bench.history[-1]["what"].split(": ")[1]
    'mse, uint8'
    """

    def __init__(self, model, pictures, calibration=None, method: str = "percentile"):
        self.model, self.pictures = Path(model), [Path(p) for p in pictures]
        self.calibration = [Path(p) for p in calibration or self.pictures]
        self._work = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = Path(self._work.name)
        self.task = tasks.recognise(self.model)
        fp32 = self.task.prepare(self.model, folder / "fp32.onnx")
        self.sha256 = sha256(self.model)
        self._real, self._feeds = Model.of(fp32).inferred, self.task.feeds(self.pictures, fp32)
        self.histograms = calibrate.observe(fp32, self.task.feeds(self.calibration, fp32), partial=False)
        real = self.task.runner(fp32)
        self.names, self.reference = real.names, [real.results(p) for p in self.pictures]
        self.live = PatchedModel(fp32, calibrate.ranges(self.histograms, method, "uint8"), folder, self.task.runner)
        self.start, self.history, self.kept = dict(self.live.ranges), [], {}
        self._costs = {t: RangeCost(self.histograms[t]) for t in self.live.shared_scale}
        self._past, self._found, self._one_at_a_time = [], {}, threading.Lock()
        self._changed(f"{method} everywhere")

    @property
    def tensors(self) -> list[str]:
        """Activations by the SQNR of their own codes, the lowest first. Of those that share a scale one stands for all.

        Isolated, since a cumulative SQNR blames a tensor for noise that was made before it, which its own range
        cannot cure. It is what `qdq.layer_sqnr(…, isolated=True, only="activations")` measures on the calibration
        pictures, estimated from their histograms: in milliseconds, after each change.
        """
        return sorted(self.live.shared_scale, key=self.sqnr)

    @property
    def busiest(self) -> int:
        """The input with the most to see in FP32's results, of those with fewer than 12: the one to look at first."""
        counts = [self.task.count(results) for results in self.reference]
        return max(range(len(counts)), key=lambda k: counts[k] if counts[k] < 12 else -counts[k])

    def sqnr(self, tensor: str) -> float:
        """SQNR in dB of one activation's codes as they are set now, isolated; inf where they lose nothing."""
        qp = choose_qparams(*self.live.ranges[self.representative(tensor)], self.dtype(tensor))
        return self._costs[self.representative(tensor)].sqnr_db(qp)

    def dtype(self, tensor: str) -> str:
        """uint8, or uint16 where the tensor was given 16 bits."""
        return "uint16" if self.representative(tensor) in self.live.a16 else "uint8"

    def representative(self, tensor: str) -> str:
        """The activation that stands for `tensor` and all that share its scale; ValueError names the nearest."""
        for representative, group in self.live.shared_scale.items():
            if tensor in group:
                return representative
        near = difflib.get_close_matches(tensor, self.live.shared_scale, 3, 0.3) or list(self.live.shared_scale)[:3]
        raise ValueError(f"{self.model}: quantizes no activation '{tensor}'; the nearest names are {near}.")

    def set(self, tensor: str, rmin: float, rmax: float, dtype: str | None = None, what: str | None = None) -> None:
        """Give one activation, and those that share its scale, another range and, which quantizes anew, another dtype.

        Raises ValueError as `qdq.set_range` does; the bench is then as it was.
        """
        representative, dtype = self.representative(tensor), dtype or self.dtype(tensor)
        if dtype not in ("uint8", "uint16"):
            raise ValueError(f"tensor '{tensor}': dtype '{dtype}' is not for activations here; use uint8 or uint16.")
        a16 = self.live.a16 | {representative} if dtype == "uint16" else self.live.a16 - {representative}
        self.live.change({representative: (rmin, rmax)}, a16)
        self._changed(f"{representative}: {what or f'{rmin:.4g} … {rmax:.4g}'}, {dtype}")

    def set_method(self, tensor: str, method: str) -> None:
        """Give one activation the range that a method reads off its histogram."""
        chosen = calibrate.method_named(method)
        low, high = chosen(self.histograms[self.representative(tensor)], self.dtype(tensor))
        self.set(tensor, low, high, what=method)

    def set_dtype(self, tensor: str, dtype: str) -> None:
        """Give one activation 8 or 16 bits, "uint8" or "uint16"; its range stays. Quantizes anew: half a second."""
        self.set(tensor, *self.live.ranges[self.representative(tensor)], dtype)

    def set_per_channel(self, on: bool) -> None:
        """One scale per output channel of every weight, or one per weight tensor. Quantizes anew."""
        self.live.change({}, per_channel=on)
        self._changed("weights: a scale for each channel" if on else "weights: one scale for each tensor")

    @property
    def settings(self) -> dict:
        """What differs from the start, as JSON holds it: {"ranges": {tensor: [rmin, rmax]}, "a16", "per_channel"}."""
        changed = {t: list(r) for t, r in self.live.ranges.items() if r != self.start[t]}
        return {"ranges": changed, "a16": sorted(self.live.a16), "per_channel": self.live.per_channel}

    def apply(self, settings: dict, what: str = "settings applied") -> None:
        """Take over settings as `settings` gives them; what they do not name goes back to the start."""
        self._take(settings)
        self._changed(what)

    def _take(self, settings: dict) -> None:
        ranges = self.start | {self.representative(t): r for t, r in settings["ranges"].items()}
        self.live.change(ranges, map(self.representative, settings["a16"]), settings["per_channel"])

    def resume(self, start: dict, settings: dict, kept: dict, history: list, what: str) -> None:
        """Go on where another bench of this model stopped; all or nothing, raises ValueError as `set` does."""
        before, self.start = self.start, {t: tuple(r) for t, r in start.items()}
        try:
            self.apply(settings, what)
        except ValueError:
            self.start = before
            raise
        self.kept, self.history = kept, [*history, self.history[-1]]

    def writable(self, path) -> Path:
        """`path`, unless it is the model or a picture that the bench reads; raises ValueError for those."""
        refuse_overwrite([path], [self.model, *self.pictures, *self.calibration])
        return Path(path)

    def undo(self) -> None:
        """Take the last change back, and by the next call the one before; the history keeps both."""
        if len(self._past) > 1:
            del self._past[-1]
            self.apply(self._past.pop(), "undo")

    def keep(self, name: str) -> None:
        """Remember the settings as they are under a name: to be compared, or applied again."""
        self.kept[name] = self.settings

    def sample(self, tensor: str, index: int) -> np.ndarray:
        """The real values of one activation on one picture, as the FP32 graph makes them."""
        feed = self._feeds[index]
        if tensor in feed:
            return feed[tensor]
        with self._one_at_a_time:
            part = onnx.utils.Extractor(self._real).extract_model(list(feed), [tensor])
            loaded = targets.load(save_model(part, self.live.folder / "part.onnx"))
        return loaded.run(None, {i.name: feed[i.name] for i in loaded.get_inputs()})[0]

    @contextlib.contextmanager
    def at(self, name: str):
        """With the settings kept under a name, for as long as the `with` lasts; the history does not see it."""
        now = self.settings
        self._take(self.kept[name])
        try:
            yield self
        finally:
            self._take(now)

    def detect(self, index: int, target: str = "cpu"):
        """INT8's results of one input (a detector's boxes above 0.001), with the settings as they are.

        target "cpu": ONNX Runtime, graph as written. "integer": the codes of the HTP (8 bits only). "htp": the NPU
        or its emulator. Raises as `targets.load` does. Nothing is computed twice.
        """
        key = json.dumps([self.settings, target, index])
        if key not in self._found:
            while len(self._found) >= REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[key] = self.live.runner(target).results(self.pictures[index])
        return self._found[key]

    def judge(self, target: str = "cpu", each=lambda done, total: None) -> dict[str, tuple[float, float, float]]:
        """`boxes.paired_metrics` of all pictures against FP32: {key: (value, low, high)}.

        `each(done, total)` is called between pictures and may raise to end it. Raises ValueError where FP32 finds
        nothing on any picture.
        """
        found, total = [], len(self.pictures)
        for k in range(total):
            each(k, total)
            found.append(self.detect(k, target))
        each(total, total)
        measured = self.task.agreement(self.reference, found)
        return {key: tuple(measured[key]) for key in self.task.shown}

    def metrics(self, target: str = "cpu", each=lambda done, total: None) -> dict[str, tuple[float, float, float]]:
        """As `judge`, noted in the history: with the last change, or as a step of its own for another target."""
        measured = self.judge(target, each)
        if self.history[-1]["metrics"] and self.history[-1]["target"] != target:
            self._note(f"on the {targets.get(target).where}")
        self.history[-1] |= {"target": target, "metrics": measured}
        return measured

    def _changed(self, what: str) -> None:
        self._past.append(self.settings)
        self._note(what)

    def _note(self, what: str) -> None:
        now = max(time.time(), self.history[-1]["time"] if self.history else 0.0)
        self.history.append({"time": now, "what": what, "settings": self.settings, "target": "cpu", "metrics": None})
