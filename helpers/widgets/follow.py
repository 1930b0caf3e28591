"""One output of a layer, chosen on a map, and how its code came about."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import ipywidgets as w
import numpy as np
import traitlets as t
from matplotlib import colormaps
from PIL import Image

from helpers import plot
from helpers.widgets.controls import stages_html
from helpers.widgets.figure import InteractiveFigure


class PixelMap(anywidget.AnyWidget):
    """A map of H×W values on which a click, a drag or an arrow key chooses one: `value` is its [row, column].

    >>> PixelMap(np.arange(6).reshape(2, 3)).value
    [1, 1]
    """

    _esm = Path(__file__).with_suffix(".js")
    image = t.Bytes().tag(sync=True)
    shape: t.List[int] = t.List().tag(sync=True)
    value: t.List[int] = t.List().tag(sync=True)

    def __init__(self, values: np.ndarray):
        rows, columns = values.shape
        super().__init__(value=[rows // 2, columns // 2])
        self.show(values)

    def show(self, values: np.ndarray) -> None:
        """Another map of the same height and width."""
        low, high = float(values.min()), float(values.max())
        shades = colormaps["cividis"]((values - low) / ((high - low) or 1.0), bytes=True)
        buffer = io.BytesIO()
        Image.fromarray(shades[..., :3]).save(buffer, "PNG")
        self.shape, self.image = list(values.shape), buffer.getvalue()


def follow(stages: Callable[[int, int, int], Mapping[str, str]], outputs: np.ndarray) -> InteractiveFigure:
    """Choose an output of a layer on its map and see how its code came about.

    `stages(channel, row, column)` gives `plot.pipeline`'s {what is done: the number it leaves}; `outputs` are the
    layer's, C×H×W. Raises ValueError for another shape.

    >>> box = follow(lambda c, i, j: {"code": f"{c + i + j}"}, np.zeros((2, 3, 3)))
    >>> "<b>3</b>" in box.picture.value
    True
    """
    outputs = np.asarray(outputs)
    if outputs.ndim != 3:
        raise ValueError(f"outputs have {outputs.ndim} dimensions; give a layer's outputs, C×H×W.")
    channel = w.IntSlider(len(outputs) // 2, 0, len(outputs) - 1, description="channel")
    pixels = PixelMap(outputs[channel.value])
    channel.observe(lambda change: pixels.show(outputs[change["new"]]), "value")

    def told(channel: int, at: list[int]) -> tuple[Mapping[str, str], str]:
        return stages(channel, *at), f"Channel {channel}, row {at[0]}, column {at[1]}"

    hint = "Click on an output, or move by the arrow keys: where does its code change, where only its exactness?"
    return InteractiveFigure(
        hint, lambda *at: stages_html(*told(*at)), [channel, pixels], lambda *at: plot.pipeline(*told(*at))
    )
