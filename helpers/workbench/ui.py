"""The workbench: choose a tensor, drag its range, see the detections move."""

from __future__ import annotations

import html
import time
from pathlib import Path

import ipywidgets as w
import numpy as np

from helpers import assets, targets
from helpers.widgets import TuneRange
from helpers.workbench import export, report
from helpers.workbench.experiment import Experiment
from helpers.workbench.latest_job import LatestJob

TRY = (
    "Try: take the first tensor of the list, pull the right end of its range inwards, let go, and watch the boxes "
    "and the numbers of all pictures. “Take back” undoes it."
)
EXPORTS = {
    "QDQ model": ("int8.onnx", export.model),
    "ranges": ("ranges.json", export.ranges),
    "TensorQuantOverrides for ONNX Runtime": ("overrides.json", export.overrides),
    "report, one page": ("report.png", report.save_page),
    "context for Snapdragon X Elite": ("int8_htp.onnx", export.context),
    "this session": ("session.json", export.save_session),
}


def workbench(model=None, pictures=None, calibration=None) -> Workbench:
    """Open the workbench on a YOLOv8 model (FP32 ONNX), `pictures` to judge on and `calibration` pictures.

    A model is named as for `assets.model`; pictures are a folder, as for `assets.images`, or a list of paths. None
    takes what `assets.course()` has, 6 pictures and 16; your own pictures alone also calibrate. Raises as
    `Experiment` does.
    """
    if model is None or pictures is None:
        own, calibrating, judging = assets.course()
    pictures, calibration = (assets.images(p) if isinstance(p, (str, Path)) else p for p in (pictures, calibration))
    if pictures is None:
        pictures, calibration = judging[:6], calibration or calibrating[:16]
    return Workbench(Experiment(assets.model(model) if model else own, pictures, calibration))


class Workbench(w.VBox):
    """Widgets around a `Experiment`: tensors by guilt, `TuneRange`, boxes of FP32 and INT8, history, exports.

    What is changed is computed in a thread, and the last value wins; `wait` returns once all is shown.
    """

    def __init__(self, bench: Experiment):
        self.bench, self.target, self._edits, self._shown, self._quiet = bench, "cpu", {}, {}, False
        self._asked = time.perf_counter()
        self._latest = LatestJob(self._failed)
        first = bench.tensors[0]
        self.tune = TuneRange(bench.histograms[first])
        self.tune.fields.children = self.tune.fields.children[1:3]  # the model's own bits and undo stand below
        super().__init__([w.HTML(f"<i>{TRY}</i>"), self._columns(), self._tabs()])
        self.add_class("workbench")
        self._list(first)
        self._sync()
        self._connect()
        self._update()

    def wait(self, timeout: float = 60) -> bool:
        """Whether all that was asked for is computed and shown, at the latest after `timeout` seconds."""
        return self._latest.wait(timeout)

    def refresh(self) -> None:
        """Show what the bench holds after code has changed it."""
        self._sync()
        self._ask()

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        return bundle | {"image/png": report.png(report.still(self.bench))}

    def _columns(self) -> w.Box:
        wide, style = w.Layout(width="98%"), {"description_width": "60px"}
        self.find = w.Text(description="find", placeholder="part of a tensor's name", layout=wide, style=style)
        self.tensor = w.Select(
            description="tensors by guilt: SQNR of its codes, dB", style={"description_width": "auto"}
        )
        self.tensor.layout = w.Layout(width="98%", height="330px", flex_flow="column")
        self.network = w.HTML(layout=w.Layout(width="266px", height="184px"))
        left = w.VBox([self.find, self.tensor, self.network], layout=w.Layout(width="268px"))
        left.add_class("wb-tensors")

        self.bits = w.ToggleButtons(options={"8 bits": "uint8", "16 bits": "uint16"}, style={"button_width": "70px"})
        self.symmetric = w.Checkbox(description="symmetric", indent=False, layout=w.Layout(width="110px"))
        self.per_channel = w.Checkbox(True, description="weights per channel", indent=False)
        self.undo = w.Button(description="take back", tooltip="take the last change of the model back")
        row = w.HBox([self.bits, self.symmetric, self.per_channel, self.undo], layout=w.Layout(flex_flow="row wrap"))
        middle = w.VBox([self.tune, row], layout=w.Layout(flex="1 1 480px"))

        last = len(self.bench.pictures) - 1
        self.picture = w.BoundedIntText(
            self.bench.busiest, min=0, max=last, description="picture", style=style
        )  # named
        self.image = w.HTML(layout=w.Layout(width="410px", height="340px"))
        self.image.add_class("wb-picture")
        self.boxes = w.HTML(layout=w.Layout(height="150px", overflow="auto"))
        self.htp = w.Button(description="as HTP computes it", tooltip="the boxes by the Hexagon's own arithmetic")
        self.htp.add_class("wb-htp")
        self.bar = w.IntProgress(0, 0, last + 1, layout=w.Layout(width="120px"), tooltip="pictures done")
        self.stop = w.Button(description="stop", tooltip="stop computing", layout=w.Layout(width="70px"))
        self.status = w.HTML(layout=w.Layout(height="48px", overflow="auto"))
        self.status.add_class("wb-status")
        right = w.VBox([self.picture, self.image, self.boxes, w.HBox([self.htp, self.bar, self.stop]), self.status])
        right.layout = w.Layout(width="415px")
        return w.HBox([left, middle, right], layout=w.Layout(flex_flow="row wrap"))

    def _tabs(self) -> w.Tab:
        self.numbers = w.HTML()
        self.history = w.HTML(layout=w.Layout(width="900px", height="240px"))
        self.keep = {name: w.Button(description=f"keep as {name}") for name in "AB"}
        self.sides = {name: (w.HTML(layout=w.Layout(width="480px", height="370px")), w.HTML())
                      for name in "AB"}  # fmt: skip
        sides = w.HBox([w.VBox(side) for side in self.sides.values()], layout=w.Layout(flex_flow="row wrap"))
        wide, style = w.Layout(width="420px"), {"description_width": "60px"}
        self.kind = w.Dropdown(options=list(EXPORTS), description="what", style=style, layout=wide)
        self.file = w.Text("int8.onnx", description="file", style=style, layout=wide)
        self.write = w.Button(description="write", tooltip="write what is chosen to the file")
        self.read = w.Button(description="load session", tooltip="load the session that the file holds")
        self.said = w.HTML()
        files = w.VBox([self.kind, self.file, w.HBox([self.write, self.read]), self.said])
        files.add_class("wb-export")
        pages = [w.VBox([self.numbers, self.history]), w.VBox([w.HBox(list(self.keep.values())), sides]), files]
        titles = ["all pictures, history", "A against B", "export, load"]
        self.tabs = w.Tab(pages, titles=titles, selected_index=0, layout=w.Layout(min_height="460px"))
        return self.tabs

    def _connect(self) -> None:
        self.find.observe(lambda _: self._list(self.tensor.value), "value")
        self.tensor.observe(lambda _: self._quiet or (self._sync(), self._ask()), "value")
        for widget, name in ((self.tune, "settled"), (self.bits, "value"), (self.symmetric, "value")):
            widget.observe(self._drag, name)
        self.per_channel.observe(self._weights, "value")
        self.undo.on_click(lambda _: self._edit(time.perf_counter(), self.bench.undo))
        self.picture.observe(self._turn, "value")
        self.tabs.observe(lambda _: self._ask(), "selected_index")
        self.htp.on_click(self._as_htp)
        self.stop.on_click(lambda _: (self._edits.clear(), self._latest.stop(), self._say("stopped")))
        for name, button in self.keep.items():
            button.on_click(lambda _, name=name: (self.bench.keep(name), self._ask()))
        self.kind.observe(lambda c: setattr(self.file, "value", EXPORTS[c.new][0]), "value")
        self.write.on_click(lambda _: self._edit("export", self._export, None))
        self.read.on_click(lambda _: self._edit("load", lambda: export.load_session(self.bench, self.file.value)))

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._latest.ask(self._update)

    def _edit(self, key, change, target: str | None = "cpu") -> None:
        """Do `change` before the next detection; a later one of the same key, such as a tensor, replaces it."""
        self._edits.pop(key, None)
        self._edits[key], self.target = change, target or self.target
        self._ask()

    def _drag(self, change) -> None:
        tensor = self.tensor.value
        if self._quiet or tensor is None:
            return
        low, high, dtype, what = self.tune.rmin, self.tune.rmax, self.bits.value, self.tune.method or None
        if change.owner is self.tune and self.tune.dtype != dtype:
            dtype = self.tune.dtype
            self._set_quietly(self.bits, dtype if dtype in ("uint8", "uint16") else self.bits.value)
        if self.symmetric.value and low != -high:
            low, high, what = min(low, -high), max(high, -low), None
        if (low, high, dtype) != (self.tune.rmin, self.tune.rmax, self.tune.dtype):
            self._show(low, high, dtype)
        if (tuple(np.float32([low, high])), dtype) != (self.bench.live.ranges[tensor], self.bench.dtype(tensor)):
            self._edit(tensor, lambda: self.bench.set(tensor, low, high, dtype, what))

    def _weights(self, change) -> None:
        if not self._quiet:
            self._edit("weights", lambda: self.bench.set_per_channel(change.new))

    def _as_htp(self, _) -> None:
        dtypes = {"uint16"} if self.bench.live.a16 else {"uint8"}
        chosen = targets.quickest(lambda target: target.npu_codes and dtypes <= target.dtypes)
        self.target = chosen.name if chosen else "cpu"
        if chosen is None:
            self._say("16-bit tensors need the HTP or its emulator, which is not here; 8 bits go on any machine.")
        else:
            self._ask()

    def _turn(self, _) -> None:
        if self.tensor.value is not None:  # its sample is another
            self._show(self.tune.rmin, self.tune.rmax, self.tune.dtype)
        self._ask()

    def _set_quietly(self, widget, value) -> None:
        before, self._quiet = self._quiet, True
        widget.value, self._quiet = value, before

    def _show(self, low: float, high: float, dtype: str) -> None:
        tensor, before, self._quiet = self.tensor.value, self._quiet, True
        sample = self.bench.sample(tensor, self.picture.value)
        self.tune.show(self.bench.histograms[tensor], dtype=dtype, sample=sample, rmin=low, rmax=high)
        self._quiet = before

    def _sync(self) -> None:
        """Let the middle show what the bench holds."""
        if (tensor := self.tensor.value) is not None:
            low, high = self.bench.live.ranges[tensor]
            self._set_quietly(self.bits, self.bench.dtype(tensor))
            self._set_quietly(self.symmetric, low == -high)
            self._set_quietly(self.per_channel, self.bench.live.per_channel)
            self._show(low, high, self.bits.value)

    def _list(self, chosen: str | None) -> None:
        """The tensors that the search finds; the chosen one stays chosen, found or not."""
        words = self.find.value.lower().split()
        found = [t for t in self.bench.tensors if t == chosen or all(word in t.lower() for word in words)]
        options = tuple((f"{self.bench.sqnr(t):.1f}  {t.removesuffix('_output_0')}", t) for t in found)
        if options != self.tensor.options:
            before, self._quiet = self._quiet, True
            self.tensor.options, self.tensor.value, self._quiet = options, chosen, before

    def _update(self) -> None:
        """In the thread: what was changed, then the picture, then the numbers, each only where it is not shown yet."""
        while self._edits:
            key = next(iter(self._edits))
            self._edits.pop(key)()
            if key not in self.bench.live.shared_scale:
                self._sync()
        index, now, tensor = self.picture.value, repr(self.bench.settings), self.tensor.value
        self._once("picture", (index, now, self.target), lambda: self._draw(index))
        self._once("network", (now, tensor), lambda: self._rank(tensor))
        if not self.bench.history[-1]["metrics"] or self.bench.history[-1]["target"] != self.target:
            self._judge()
        for name in set(self.bench.kept) & set(self.sides) if self.tabs.selected_index == 1 else ():
            self._once(name, (index, repr(self.bench.kept[name])), lambda name=name: self._draw_side(name, index))

    def _once(self, what: str, key, make) -> None:
        """Make `what` anew unless it is shown as `key`; a job that is no longer wanted ends here."""
        self._latest.check()
        if self._shown.get(what) != key:
            make()
            self._shown[what] = key

    def _draw(self, index: int) -> None:
        self._say(f"computing on the {targets.get(self.target).where} …")
        reference, test = self.bench.reference[index], self.bench.detect(index, self.target)
        took = time.perf_counter() - self._asked
        figure = report.overlay(self.bench, index, self.target, 4.1, 3.3)
        self.image.value = report.img(
            figure, "boxes of FP32, solid, and of INT8, dashed: " + figure.axes[0].get_title()
        )
        self.boxes.value = report.rows(self.bench.task.rows(reference, test, self.bench.names))
        after = "" if self.target == "cpu" else "; any change goes back to the CPU"
        self._say(f"boxes by the {targets.get(self.target).where}, {took:.2f} s after you asked{after}")

    def _rank(self, tensor: str | None) -> None:
        self._list(self.tensor.value)
        self.network.value = report.img(report.network(self.bench, tensor), "SQNR of all tensors by depth")

    def _judge(self) -> None:
        metrics = self.bench.metrics(self.target, self._progress)
        first = next(e["metrics"] for e in self.bench.history if e["metrics"])
        self.numbers.value = report.table(
            {"at the start": first, f"now, {targets.get(self.target).where}": metrics}, self.bench.task.shown
        )
        self.history.value = report.img(
            report.history(self.bench), "agreement, IoU drift and score change, step by step"
        )

    def _draw_side(self, name: str, index: int) -> None:
        image, text = self.sides[name]
        with self.bench.at(name):
            image.value = report.img(report.overlay(self.bench, index, "cpu", 4.8, 3.6), f"boxes with settings {name}")
            text.value = report.table({name: self.bench.judge("cpu", self._progress)}, self.bench.task.shown)

    def _progress(self, done: int, total: int) -> None:
        self.bar.value = done
        self._latest.check()

    def _export(self) -> None:
        path = Path(self.file.value).expanduser()
        made = EXPORTS[self.kind.value][1](self.bench, path)
        self.said.value = f"written: {html.escape(str(made))}, {made.stat().st_size / 1e3:.0f} kB"

    def _say(self, text: str) -> None:
        self.status.value = f'<div role="status">{html.escape(text)}</div>'

    def _failed(self, error: Exception) -> None:
        self._say(str(error))
        self.said.value = html.escape(str(error))
        self._sync()  # what was asked for is not what the bench holds
        if self._edits:
            self._ask()
