"""What the workbench looks like: its controls and where they stand; what they do is `ui`'s."""

from __future__ import annotations

import ipywidgets as w

from helpers.calibrate import Histogram
from helpers.tasks import Words
from helpers.widgets import TuneRange

_SHORT = {"description_width": "60px"}


def _wrapping(children: list[w.Widget]) -> w.HBox:
    """A row that goes on below where the page is narrow."""
    return w.HBox(children, layout=w.Layout(flex_flow="row wrap"))


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
        columns = _wrapping([self._tensors(), self._range(histogram), self._results(count, first, words)])
        self.tabs = w.Tab(
            [self._numbers(), self._sides(), self._files(exports)],
            titles=[f"all {words.inputs}, history", "A against B", "export, load"],
            selected_index=0,
            layout=w.Layout(min_height="460px"),
        )
        super().__init__([w.HTML(f"<i>{tip}</i>"), columns, self.tabs])
        self.add_class("workbench")

    def _tensors(self) -> w.VBox:
        wide = w.Layout(width="98%")
        self.find = w.Text(description="find", placeholder="part of a tensor's name", layout=wide, style=_SHORT)
        self.tensor = w.Select(
            description="tensors by guilt: SQNR of its codes, dB",
            style={"description_width": "auto"},
            layout=w.Layout(width="98%", height="330px", flex_flow="column"),
        )
        self.network = w.HTML(layout=w.Layout(width="266px", height="184px"))
        column = w.VBox([self.find, self.tensor, self.network], layout=w.Layout(width="268px"))
        column.add_class("wb-tensors")
        return column

    def _range(self, histogram: Histogram) -> w.VBox:
        self.tune = TuneRange(histogram)
        self.tune.fields.children = self.tune.fields.children[1:3]  # the model's own bits and undo stand below
        self.bits = w.ToggleButtons(options={"8 bits": "uint8", "16 bits": "uint16"}, style={"button_width": "70px"})
        self.symmetric = w.Checkbox(description="symmetric", indent=False, layout=w.Layout(width="110px"))
        self.per_channel = w.Checkbox(True, description="weights per channel", indent=False)
        self.undo = w.Button(description="take back", tooltip="take the last change of the model back")
        row = _wrapping([self.bits, self.symmetric, self.per_channel, self.undo])
        return w.VBox([self.tune, row], layout=w.Layout(flex="1 1 480px"))

    def _results(self, count: int, first: int, words: Words) -> w.VBox:
        self.input = w.BoundedIntText(first, min=0, max=count - 1, description=words.input, style=_SHORT)
        self.image = w.HTML(layout=w.Layout(width="410px", height="340px"))
        self.image.add_class("wb-picture")
        self.rows = w.HTML(layout=w.Layout(height="150px", overflow="auto"))
        by_htp = f"the {words.results} by the Hexagon's own arithmetic"
        self.htp = w.Button(description="as HTP computes it", tooltip=by_htp)
        self.htp.add_class("wb-htp")
        self.bar = w.IntProgress(0, 0, count, layout=w.Layout(width="120px"), tooltip=f"{words.inputs} done")
        self.stop = w.Button(description="stop", tooltip="stop computing", layout=w.Layout(width="70px"))
        self.status = w.HTML(layout=w.Layout(height="48px", overflow="auto"))
        self.status.add_class("wb-status")
        row = w.HBox([self.htp, self.bar, self.stop])
        return w.VBox([self.input, self.image, self.rows, row, self.status], layout=w.Layout(width="415px"))

    def _numbers(self) -> w.VBox:
        self.numbers = w.HTML()
        self.history = w.HTML(layout=w.Layout(width="900px", height="240px"))
        return w.VBox([self.numbers, self.history])

    def _sides(self) -> w.VBox:
        self.keep = {name: w.Button(description=f"keep as {name}") for name in "AB"}
        self.sides = {name: (w.HTML(layout=w.Layout(width="480px", height="370px")), w.HTML()) for name in "AB"}
        return w.VBox([w.HBox(list(self.keep.values())), _wrapping([w.VBox(side) for side in self.sides.values()])])

    def _files(self, exports: list[str]) -> w.VBox:
        wide = w.Layout(width="420px")
        self.kind = w.Dropdown(options=exports, description="what", style=_SHORT, layout=wide)
        self.file = w.Text("int8.onnx", description="file", style=_SHORT, layout=wide)
        self.write = w.Button(description="write", tooltip="write what is chosen to the file")
        self.read = w.Button(description="load session", tooltip="load the session that the file holds")
        self.said = w.HTML()
        files = w.VBox([self.kind, self.file, w.HBox([self.write, self.read]), self.said])
        files.add_class("wb-export")
        return files
