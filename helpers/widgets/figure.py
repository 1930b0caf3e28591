"""A picture below its controls: drawn anew at each step, told in words, a plain PNG where no kernel is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as w
from matplotlib.figure import Figure

from helpers.widgets.frame import Frame, png


class InteractiveFigure(w.VBox):
    """What to try, `controls`, and the HTML that `draw(*values)` makes of their values.

    Where there is no kernel, as on GitHub, the figure that `still(*values)` makes is shown.

    >>> from helpers import plot
    >>> slider = w.IntSlider(1, 0, 3, description="bits")
    >>> still = lambda bits: plot.pipeline({"steps": str(2**bits)}, "a title")
    >>> box = InteractiveFigure("Try more bits.", lambda bits: f"{2**bits} steps", [slider], still)
    >>> slider.value = 3; box.picture.value
    '8 steps'
    """

    def __init__(
        self, tip: str, draw: Callable[..., str], controls: Sequence[w.DOMWidget], still: Callable[..., Figure]
    ):
        self.controls, self.still, self.picture = controls, still, w.HTML()
        super().__init__([Frame(), w.HTML(f"<i>{tip}</i>"), *controls, self.picture])
        self.add_class("hands")

        def redraw(_=None):
            self.picture.value = draw(*self._values())

        for control in controls:
            if isinstance(control, w.ValueWidget):
                control.style = {"description_width": "80px"}
                control.layout = w.Layout(width="500px", max_width="98%")
            control.observe(redraw, "value")
        redraw()

    def _values(self) -> list:
        return [control.value for control in self.controls]

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | {"image/png": png(self.still(*self._values()))}
