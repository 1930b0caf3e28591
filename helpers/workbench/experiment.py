"""A model under experiment: change one range, see what its results do, keep what was tried."""

from __future__ import annotations

import contextlib
import difflib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from helpers import calibrate, targets, tasks
from helpers.affine import choose_qparams
from helpers.calibrate import RangeCost
from helpers.graph import Model, refuse_overwrite, save_model, sha256
from helpers.workbench.patched_model import PatchedModel

WEIGHTS = {  # dtype and whether each channel has a scale of its own
    ("int8", True): "int8 per channel",
    ("int8", False): "int8 per tensor",
    ("int4", True): "int4 per channel",
}
REMEMBERED = 512  # results, such as up to 300 boxes each
Metrics = dict[str, tuple[float, ...]]  # {key: (value, low, high)}


class Experiment:
    """A model quantized to 8 bits, its ranges and bits open to change, its results held against FP32's.

    `model` is an FP32 path, `inputs` the files to judge on, `calibration` those that give the histograms (None: the
    same files, which flatters). `task` (None: recognised from the graph) prepares it (a detector's head is cut) and
    says what results are; `method` gives the first ranges. `patched` holds the QDQ graph with its ranges as they are
    now. `history` holds a dict for each change: time (s since 1970), what, settings, target, metrics (None until
    asked).
    Raises ValueError where the model is quantized, FileNotFoundError for a missing file.

    >>> from helpers import assets
    >>> experiment = Experiment(assets.model(), assets.images("validation")[:1], assets.images("calibration")[:2])
    >>> experiment.set_method(experiment.tensors[0], "mse")
    >>> experiment.history[-1]["what"].split(": ")[1]
    'mse, uint8'
    """

    def __init__(
        self,
        model: str | Path,
        inputs: Sequence[str | Path],
        calibration: Sequence[str | Path] | None = None,
        method: str = "percentile",
        task: tasks.Task | None = None,
    ):
        self.model, self.inputs = Path(model), [Path(p) for p in inputs]
        self.calibration = [Path(p) for p in calibration or self.inputs]
        self._work = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = Path(self._work.name)
        self.task = task or tasks.recognise(self.model)
        fp32 = self.task.prepare(self.model, folder / "fp32.onnx")
        self.sha256 = sha256(self.model)
        self._real, self._feeds = Model.of(fp32).inferred, self.task.feeds(self.inputs, fp32)
        self.histograms = calibrate.observe(fp32, self.task.feeds(self.calibration, fp32), partial=False)
        real = self.task.runner(fp32)
        self.names, self.reference = real.names, [real.results(p) for p in self.inputs]
        self.patched = PatchedModel(fp32, calibrate.ranges(self.histograms, method, "uint8"), folder, self.task.runner)
        self.start, self.kept = dict(self.patched.ranges), dict[str, dict[str, Any]]()
        self.history: list[dict[str, Any]] = []
        self._costs = {t: RangeCost(self.histograms[t]) for t in self.patched.shared_scale}
        self._past: list[dict[str, Any]] = []
        self._found: dict[str, Any] = {}
        self._one_at_a_time = threading.Lock()
        self._changed(f"{method} everywhere")

    @property
    def tensors(self) -> list[str]:
        """Activations by `sqnr`, the lowest first. Of those that share a scale one stands for all."""
        return sorted(self.patched.shared_scale, key=self.sqnr)

    @property
    def busiest(self) -> int:
        """The input with the most to see in FP32's results, of those with fewer than 12: the one to look at first."""
        counts = [self.task.count(results) for results in self.reference]
        return max(range(len(counts)), key=lambda k: counts[k] if counts[k] < 12 else -counts[k])

    def sqnr(self, tensor: str) -> float:
        """SQNR in dB of one activation's codes as they are set now, isolated; inf where they lose nothing.

        Isolated, since a cumulative SQNR blames a tensor for noise made before it, which its own range cannot cure:
        what `qdq.layer_sqnr(…, isolated=True)` measures, estimated from the histogram in milliseconds.
        """
        representative = self.representative(tensor)
        rmin, rmax = self.patched.ranges[representative]
        return self._costs[representative].sqnr_db(choose_qparams(rmin, rmax, self.dtype(tensor)))

    def dtype(self, tensor: str) -> str:
        """uint8, or uint16 where the tensor was given 16 bits."""
        return "uint16" if self.representative(tensor) in self.patched.a16 else "uint8"

    def representative(self, tensor: str) -> str:
        """The activation that stands for `tensor` and all that share its scale; ValueError names the nearest."""
        for representative, group in self.patched.shared_scale.items():
            if tensor in group:
                return representative
        known = list(self.patched.shared_scale)
        near = difflib.get_close_matches(tensor, known, 3, 0.3) or known[:3]
        raise ValueError(f"{self.model}: quantizes no activation '{tensor}'; the nearest names are {near}.")

    def set(self, tensor: str, rmin: float, rmax: float, dtype: str | None = None, what: str | None = None) -> None:
        """Give one activation, and those that share its scale, another range and, which quantizes anew, another dtype,
        uint8 or uint16. `what` is told in the history in place of the range.

        Raises ValueError as `qdq.set_range` does; the experiment is then as it was.
        """
        representative, dtype = self.representative(tensor), dtype or self.dtype(tensor)
        if dtype not in ("uint8", "uint16"):
            raise ValueError(f"tensor '{tensor}': dtype '{dtype}' is not for activations here; use uint8 or uint16.")
        a16 = self.patched.a16 | {representative} if dtype == "uint16" else self.patched.a16 - {representative}
        self.patched.change({representative: (rmin, rmax)}, a16)
        self._changed(f"{representative}: {what or f'{rmin:.4g} … {rmax:.4g}'}, {dtype}")

    def set_method(self, tensor: str, method: str) -> None:
        """Give one activation the range that a method reads off its histogram; ValueError for an unknown method."""
        chosen = calibrate.method_named(method)
        low, high = chosen(self.histograms[self.representative(tensor)], self.dtype(tensor))
        self.set(tensor, low, high, what=method)

    def set_weights(self, dtype: str, per_channel: bool = True) -> None:
        """Weights in int8 or int4, with a scale per output channel or one per tensor. Quantizes anew.

        Raises ValueError for another dtype, and for int4 with one scale per tensor, which the HTP refuses.
        """
        if (dtype, per_channel) not in WEIGHTS:
            raise ValueError(f"weights in {dtype}: take int8, or int4 with a scale for each channel.")
        self.patched.change({}, weight=dtype, per_channel=per_channel)
        self._changed(f"weights: {WEIGHTS[dtype, per_channel]}")

    @property
    def settings(self) -> dict[str, Any]:
        """What was set, as JSON holds it: "ranges" that differ from the start {tensor: [rmin, rmax]}, "a16", the
        tensors in 16 bits, and the weights' "weight" and "per_channel"."""
        patched = self.patched
        changed = {t: list(r) for t, r in patched.ranges.items() if r != self.start[t]}
        weights = {"weight": patched.weight, "per_channel": patched.per_channel}
        return {"ranges": changed, "a16": sorted(patched.a16), **weights}

    def apply(self, settings: dict[str, Any], what: str = "settings applied") -> None:
        """Take over settings as `settings` gives them, the rest as at the start; raises ValueError as `set` does."""
        self._take(settings)
        self._changed(what)

    def _take(self, settings: dict[str, Any]) -> None:
        ranges = self.start | {self.representative(t): r for t, r in settings["ranges"].items()}
        weights = settings.get("weight", "int8"), settings["per_channel"]  # sessions from before int4 name none
        self.patched.change(ranges, map(self.representative, settings["a16"]), *weights)

    def resume(self, start: dict, settings: dict, kept: dict, history: list[dict], what: str) -> None:
        """Go on where another experiment with this model stopped; all or nothing, raises ValueError as `set` does."""
        before, self.start = self.start, {t: tuple(r) for t, r in start.items()}
        try:
            self.apply(settings, what)
        except ValueError:
            self.start = before
            raise
        self.kept, self.history = kept, [*history, self.history[-1]]

    def writable(self, path: str | Path) -> Path:
        """`path`, unless it is the model or an input that the experiment reads; raises ValueError for those."""
        refuse_overwrite([path], [self.model, *self.inputs, *self.calibration])
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
        """The real values of one activation on one input, as the FP32 graph makes them."""
        feed = self._feeds[index]
        if tensor in feed:
            return feed[tensor]
        with self._one_at_a_time:
            part = onnx.utils.Extractor(self._real).extract_model(list(feed), [tensor])
            loaded = targets.load(save_model(part, self.patched.folder / "part.onnx"))
        return loaded.run(None, {i.name: feed[i.name] for i in loaded.get_inputs()})[0]

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[Experiment]:
        """With the settings kept under a name, for as long as the `with` lasts; the history does not see it."""
        now = self.settings
        self._take(self.kept[name])
        try:
            yield self
        finally:
            self._take(now)

    def results(self, index: int, target: str = "cpu") -> Any:
        """INT8's results of one input (a detector's boxes above 0.001), with the settings as they are.

        target "cpu": ONNX Runtime, graph as written. "integer": the codes of the HTP (8 bits only). "htp": the NPU
        or its emulator. Raises as `targets.load` does. Nothing is computed twice.
        """
        key = json.dumps([self.settings, target, index])
        if key not in self._found:
            while len(self._found) >= REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[key] = self.patched.runner(target).results(self.inputs[index])
        return self._found[key]

    def judge(self, target: str = "cpu", each: Callable[[int], None] = lambda done: None) -> Metrics:
        """The task's agreement of all inputs with FP32, as far as it is shown: {key: (value, low, high)}.

        `each(done)` is called after each input and may raise to end it. Raises ValueError where FP32 finds nothing on
        any input.
        """
        found = []
        for k in range(len(self.inputs)):
            found.append(self.results(k, target))
            each(k + 1)
        measured = self.task.agreement(self.reference, found)
        return {key: tuple(measured[key]) for key in self.task.shown}

    def metrics(self, target: str = "cpu", each: Callable[[int], None] = lambda done: None) -> Metrics:
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
