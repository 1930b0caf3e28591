"""The workbench: choose a tensor, drag its range, see the results move."""

from __future__ import annotations

import contextlib
import functools
import html
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers import targets
from helpers.widgets.frame import img
from helpers.workbench import export, report
from helpers.workbench.experiment import Experiment
from helpers.workbench.export import EXPORTS
from helpers.workbench.latest_job import LatestJob
from helpers.workbench.layout import Layout
from helpers.workbench.patched_model import float32_range


class Workbench(Layout):
    """Widgets around an `Experiment`: tensors by SQNR, `TuneRange`, results of FP32 and INT8, history, exports.

    What is changed is computed in a thread, and the last value wins; `wait` returns once all is shown.
    """

    def __init__(self, experiment: Experiment):
        self.experiment, self.target, self._quiet = experiment, "cpu", False
        self._edits: dict[object, tuple[Callable[[], Any], str | None]] = {}
        self._shown: dict[str, object] = {}
        self._asked = time.perf_counter()
        self._latest = LatestJob(self._failed)
        first = experiment.tensors[0]
        words, count = experiment.task.words, len(experiment.inputs)
        super().__init__(experiment.histograms[first], count, experiment.busiest, words, list(EXPORTS))
        self.file.value = EXPORTS[self.kind.value][0]
        self._list(first)
        self._sync()
        self._connect()
        self._update()

    def wait(self, timeout: float = 60) -> bool:
        """Whether all that was asked for is computed and shown, at the latest after `timeout` seconds."""
        return self._latest.wait(timeout)

    def refresh(self) -> None:
        """Show what the experiment holds after code has changed it."""
        self._sync()
        self._ask()

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        return bundle | {"image/png": report.png(report.still(self.experiment))}

    def _connect(self) -> None:
        self.find.observe(lambda _: self._list(self.tensor.value), "value")
        self.tensor.observe(lambda _: None if self._quiet else self.refresh(), "value")
        for widget, name in ((self.tune, "settled"), (self.bits, "value"), (self.symmetric, "value")):
            widget.observe(self._drag, name)
        self.weights.observe(self._weights, "value")
        self.undo.on_click(lambda _: self._edit(object(), self.experiment.undo))  # every click counts
        self.input.observe(self._turn, "value")
        self.tabs.observe(lambda _: self._ask(), "selected_index")
        self.htp.on_click(
            lambda _: self._edit("htp", lambda: setattr(self, "target", self.experiment.patched.npu_target()))
        )
        self.stop.on_click(self._stop)
        for name, button in self.keep.items():
            button.on_click(functools.partial(self._keep, name))
        self.kind.observe(lambda c: setattr(self.file, "value", EXPORTS[c.new][0]), "value")
        self.write.on_click(lambda _: self._edit("export", self._export, None))
        self.read.on_click(lambda _: self._edit("load", self._load))

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._latest.ask(self._update)

    def _edit(self, key: object, change: Callable[[], Any], target: str | None = "cpu") -> None:
        """Do `change` before the next results, on `target` (None: where the last were); a later one of the same key,
        such as a tensor, replaces it."""
        self._edits.pop(key, None)
        self._edits[key] = change, target
        self._ask()

    def _drag(self, change) -> None:
        tensor = self.tensor.value
        if self._quiet or tensor is None:
            return
        low, high, dtype, what = self.tune.rmin, self.tune.rmax, self.bits.value, self.tune.method or None
        if change.owner is self.tune and self.tune.dtype != dtype:
            dtype = self.tune.dtype
            with self._quietly():
                self.bits.value = dtype if dtype in ("uint8", "uint16") else self.bits.value
        if self.symmetric.value and low != -high:
            low, high, what = min(low, -high), max(high, -low), None
        if (low, high, dtype) != (self.tune.rmin, self.tune.rmax, self.tune.dtype):
            self._show(low, high, dtype)
        experiment = self.experiment
        if (float32_range(low, high), dtype) != (experiment.patched.ranges[tensor], experiment.dtype(tensor)):
            self._edit(tensor, lambda: experiment.set(tensor, low, high, dtype, what))

    def _weights(self, change) -> None:
        if not self._quiet:
            self._edit("weights", lambda: self.experiment.set_weights(*change.new))

    def _as_htp(self) -> None:
        self.target = self.experiment.patched.npu_target()

    def _turn(self, _) -> None:
        if self.tensor.value is not None:  # its sample is another
            self._show(self.tune.rmin, self.tune.rmax, self.tune.dtype)
        self._ask()

    def _stop(self, _) -> None:
        self._edits.clear()
        self._latest.stop()
        self._say("stopped")

    def _keep(self, name: str, _) -> None:
        self.experiment.keep(name)
        self._ask()

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """What changes in the `with` is shown, and asks for nothing."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _show(self, low: float, high: float, dtype: str) -> None:
        tensor = self.tensor.value
        with self._quietly():
            sample = self.experiment.sample(tensor, self.input.value)
            self.tune.show(self.experiment.histograms[tensor], dtype=dtype, sample=sample, rmin=low, rmax=high)

    def _sync(self) -> None:
        """Let the middle show what the experiment holds."""
        tensor, patched = self.tensor.value, self.experiment.patched
        if tensor is None:
            return
        low, high = patched.ranges[tensor]
        with self._quietly():
            self.bits.value, self.symmetric.value = self.experiment.dtype(tensor), low == -high
            self.weights.value = patched.weight, patched.per_channel
            self._show(low, high, self.bits.value)

    def _list(self, chosen: str | None) -> None:
        """The tensors that the search finds; the chosen one stays chosen, found or not."""
        words = self.find.value.lower().split()
        found = [t for t in self.experiment.tensors if t == chosen or all(word in t.lower() for word in words)]
        options = tuple((f"{self.experiment.sqnr(t):.1f}  {t.removesuffix('_output_0')}", t) for t in found)
        if options != self.tensor.options:
            with self._quietly(), self.tensor.hold_sync():  # the page does not see the first one chosen in between
                self.tensor.options, self.tensor.value = options, chosen

    def _update(self) -> None:
        """In the thread: what was changed, then the results, then the numbers, each only where it is not shown yet."""
        experiment = self.experiment
        while self._edits:
            key = next(iter(self._edits))
            change, target = self._edits.pop(key)
            self.target = target or self.target
            change()
            if key not in experiment.patched.shared_scale:
                self._sync()
        index, now, tensor = self.input.value, repr(experiment.settings), self.tensor.value
        self._once("picture", (index, now, self.target), lambda: self._draw(index))
        self._once("network", (now, tensor), lambda: self._rank(tensor))
        if not experiment.history[-1]["metrics"] or experiment.history[-1]["target"] != self.target:
            self._judge()
        if self.tabs.selected_index == 2:
            self._once("sides", (index, repr(experiment.kept)), lambda: self._draw_sides(index))

    def _once(self, what: str, key: object, make: Callable[[], None]) -> None:
        """Make `what` anew unless it is shown as `key`; a job that is no longer wanted ends here."""
        self._latest.check()
        if self._shown.get(what) != key:
            make()
            self._shown[what] = key

    def _draw(self, index: int) -> None:
        experiment, words = self.experiment, self.experiment.task.words
        where = targets.get(self.target).where
        self._say(f"computing on the {where} …")
        reference, test = experiment.reference[index], experiment.results(index, self.target)
        took = time.perf_counter() - self._asked
        self.image.value = report.photo(experiment, index, self.target, 4.1, 2.9)
        self.rows.value = report.rows(experiment.task.rows(reference, test, experiment.names))
        after = "" if self.target == "cpu" else "; any change goes back to the CPU"
        self._say(f"{words.results} by the {where}, {took:.2f} s after you asked{after}")

    def _rank(self, tensor: str | None) -> None:
        self._list(tensor)
        self.network.value = img(report.network(self.experiment, tensor), "SQNR of all tensors by depth")

    def _judge(self) -> None:
        experiment, task = self.experiment, self.experiment.task
        metrics = experiment.metrics(self.target, self._progress)
        first = next(e["metrics"] for e in experiment.history if e["metrics"])
        columns = {"start": first, f"now, {targets.get(self.target).where}": metrics}
        self.numbers.value = report.table(columns, task)
        self.history.value = img(report.history(experiment)) + report.steps(experiment)

    def _draw_sides(self, index: int) -> None:
        """A and B as far as they are kept: settings, one input's results, and the numbers with their difference."""
        experiment, columns = self.experiment, {}
        for name in sorted(set(experiment.kept) & set(self.sides)):
            with experiment.at(name):
                lines = "<br>".join(map(html.escape, report.changes(experiment)))
                columns[name] = experiment.judge("cpu", self._progress)
                self.sides[name].value = f"<b>{name}</b>: {lines}{report.photo(experiment, index, 'cpu', 4.4, 3.2)}"
        self.versus.value = report.table(columns, experiment.task) if columns else ""

    def _progress(self, done: int) -> None:
        self.bar.value = done
        self._latest.check()

    def _load(self) -> None:
        told = export.load_session(self.experiment, Path(self.file.value).expanduser())
        self.said.value = "<br>".join(map(html.escape, ["loaded: " + told, *report.changes(self.experiment)]))

    def _export(self) -> None:
        path = Path(self.file.value).expanduser()
        made = EXPORTS[self.kind.value][1](self.experiment, path)
        self.said.value = f"written: {html.escape(str(made))}, {made.stat().st_size / 1e3:.0f} kB"

    def _say(self, text: str) -> None:
        self.status.value = f'<div role="status">{html.escape(text)}</div>'

    def _failed(self, error: Exception) -> None:
        self._say(str(error))
        self.said.value = html.escape(str(error))
        self._sync()  # what was asked for is not what the experiment holds
        if self._edits:
            self._ask()
