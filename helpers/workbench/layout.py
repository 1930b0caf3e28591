"""What the workbench looks like: its controls and where they stand; what they do is `ui`'s."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as w

from helpers.calibrate import Histogram
from helpers.tasks import Words
from helpers.widgets import TuneRange
from helpers.widgets.frame import Frame
from helpers.workbench.experiment import WEIGHTS

_SHORT = {"description_width": "60px"}


class _Style(Frame):
    _css = Path(__file__).with_suffix(".css")


def _wrapping(children: list[w.Widget]) -> w.HBox:
    """A row that goes on below where the page is narrow."""
    return w.HBox(children, layout=w.Layout(flex_flow="row wrap"))


def _part(name: str, box: w.Widget) -> w.Widget:
    """A part that layout.css and the tests find by its class."""
    box.add_class(f"wb-{name}")
    return box


class Layout(w.VBox):
    """The workbench's widgets: tensors, `TuneRange` and results side by side, below them history, A against B, files.

    `histogram` is the first tensor's; `count` inputs are judged, the one at `first` is shown first; `words` are the
    task's for them; `exports` are the kinds of files that can be written.
    """

    def __init__(self, histogram: Histogram, count: int, first: int, words: Words, exports: list[str]):
        tip = (
            "Try: take the first tensor of the list, pull the right end of its range inwards, let go, and watch the "
            f"{words.results} and the numbers of all {words.inputs}. “Take back” undoes it."
        )
        columns = w.Box([self._tensors(), self._range(histogram), self._results(count, first, words)])
        self.rows = w.HTML()
        self.history = w.HTML()
        self.tabs = w.Tab(
            [self.history, self.rows, self._sides(), self._files(exports)],
            titles=["history", f"this {words.input}", "A against B", "export, load"],
            selected_index=0,
        )
        super().__init__([_Style(), w.HTML(f"<i>{tip}</i>"), _part("columns", columns), self.tabs])
        self.add_class("workbench")
        self.add_class("hands")

    def _tensors(self) -> w.Widget:
        wide = w.Layout(width="98%")
        self.find = w.Text(description="find", placeholder="part of a tensor's name", layout=wide, style=_SHORT)
        self.tensor = w.Select(
            description="by guilt: SQNR of the codes, dB",
            style={"description_width": "auto"},
            layout=w.Layout(width="98%", height="auto", flex_flow="column"),
        )
        self.network = w.HTML()
        return _part("tensors", w.VBox([self.find, self.tensor, self.network]))

    def _range(self, histogram: Histogram) -> w.Widget:
        self.tune = TuneRange(histogram)
        self.bits = w.ToggleButtons(options={"8 bits": "uint8", "16 bits": "uint16"}, style={"button_width": "70px"})
        self.symmetric = w.Checkbox(description="symmetric", indent=False, layout=w.Layout(width="100px"))
        self.weights = w.Dropdown(options={text: key for key, text in WEIGHTS.items()}, description="weights")
        self.weights.style, self.weights.layout.width = _SHORT, "210px"
        self.undo = w.Button(description="take back", tooltip="take the last change of the model back")
        self.undo.layout.width = "90px"
        self.tune.fields.children = [*self.tune.fields.children[1:3], self.undo]  # the bits are the model's own
        return w.VBox([self.tune, _wrapping([self.bits, self.symmetric, self.weights])])

    def _results(self, count: int, first: int, words: Words) -> w.Widget:
        self.input = w.BoundedIntText(first, min=0, max=count - 1, description=words.input, style=_SHORT)
        self.input.layout.width = "130px"
        by_htp = f"the {words.results} by the Hexagon's own arithmetic"
        self.htp = w.Button(description="as HTP computes it", tooltip=by_htp)
        self.bar = w.IntProgress(0, 0, count, layout=w.Layout(width="50px"), tooltip=f"{words.inputs} done")
        self.stop = w.Button(description="stop", tooltip="stop computing", layout=w.Layout(width="50px"))
        row = _wrapping([self.input, _part("htp", self.htp), self.bar, self.stop])
        self.image, self.numbers, self.status = w.HTML(), w.HTML(), w.HTML()
        return _part("results", w.VBox([row, _part("picture", self.image), self.status, self.numbers]))

    def _sides(self) -> w.Widget:
        self.keep = {name: w.Button(description=f"keep as {name}") for name in "AB"}
        self.sides, self.versus = {name: w.HTML() for name in "AB"}, w.HTML()
        pictures = _wrapping(list(self.sides.values()))
        return w.VBox([w.HBox(list(self.keep.values())), pictures, self.versus])

    def _files(self, exports: list[str]) -> w.Widget:
        wide = w.Layout(width="420px")
        self.kind = w.Dropdown(options=exports, description="what", style=_SHORT, layout=wide)
        self.file = w.Text(description="file", style=_SHORT, layout=wide)
        self.write = w.Button(description="write", tooltip="write what is chosen to the file")
        self.read = w.Button(description="load session", tooltip="load the session that the file holds")
        self.said = w.HTML()
        return _part("export", w.VBox([self.kind, self.file, w.HBox([self.write, self.read]), self.said]))
