"""Hands on the numbers: ipywidgets over the course's own functions, each a few controls and one picture."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets as w
import numpy as np
from matplotlib.figure import Figure
from onnx import ModelProto

from helpers import plot
from helpers.affine import choose_qparams, qrange
from helpers.graph import Model, list_qparams
from helpers.tasks import Detector
from helpers.widgets.figure import InteractiveFigure


def compare(detectors: Mapping[str, Detector], pictures: Sequence[str | Path]) -> InteractiveFigure:
    """Two or more detectors on one picture, side by side; choose the picture and the threshold.

    `detectors` is {title: detector}. Each picture is detected once and kept, so the threshold moves freely.

    >>> from helpers import assets, tasks
    >>> box = compare({"FP32": tasks.Detector(assets.model())}, assets.images()[:2])
    >>> bytes(box.children[-1].value[1:4])
    b'PNG'
    """

    @functools.cache
    def found(index: int) -> dict[str, tuple]:
        return {title: d.detect(pictures[index], conf=0.05) for title, d in detectors.items()}

    names = next(iter(detectors.values())).names
    picture = w.IntSlider(0, 0, len(pictures) - 1, description="picture")
    conf = w.FloatSlider(0.25, min=0.05, max=0.95, step=0.01, description="threshold")
    hint = "Move the threshold slowly, with the mouse or the arrow keys: which boxes come and go in one of them only?"
    return InteractiveFigure(hint, lambda i, c: plot.detections(pictures[i], found(i), names, c), [picture, conf], 460)


def staircase(low: float = -1.0, high: float = 3.0, dtype: str = "uint4") -> InteractiveFigure:
    """The live staircase: drag the ends of the range or change the dtype, and see codes and error follow.

    >>> bytes(staircase().children[-1].value[1:4])
    b'PNG'
    """
    ends = w.FloatRangeSlider(value=(low, high), min=-8, max=8, step=0.05, description="range")
    kind = w.Dropdown(options=["uint8", "int8", "uint4", "int4"], value=dtype, description="dtype")

    def draw(ends: tuple[float, float], dtype: str) -> Figure:
        qp, (qmin, qmax) = choose_qparams(*ends, dtype), qrange(dtype)
        fig = plot.staircase(qp, -8, 8)
        fig.suptitle(f"S = {qp.scale:.4g}, Z = {qp.zero_point}, codes {qmin} … {qmax}", fontsize=11)
        return fig

    hint = "Make the range wider than the data, then narrower: what becomes of the error?"
    return InteractiveFigure(hint, draw, [ends, kind], 500)


def pick_weight(weights: Mapping[str, np.ndarray]) -> InteractiveFigure:
    """Choose a weight tensor and see its output channels against the one step that they would share.

    >>> box = pick_weight({"conv.weight": np.arange(1.0, 9).reshape(2, 4)})
    >>> bytes(box.children[-1].value[1:4])
    b'PNG'
    """
    choice = w.Dropdown(options=list(weights), description="weight")
    hint = "Look for a layer whose channels differ most: what is left of the smallest under one step?"
    return InteractiveFigure(hint, lambda name: plot.channels(weights[name], name), [choice], 380)


def pick_tensor(qdq_model: str | Path | ModelProto | Model) -> InteractiveFigure:
    """Look up any tensor of a QDQ graph: its dtype, scale, zero point and the reals that it can hold.

    >>> from onnx.helper import make_graph, make_model, make_node, make_tensor
    >>> s, z = make_tensor("s", 1, [], [0.5]), make_tensor("z", 2, [], [3])
    >>> q = make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    >>> box = pick_tensor(make_model(make_graph([q], "g", [], [], [s, z])))
    >>> "-1.5 … 126" in box.picture.alt
    True
    """
    params = list_qparams(qdq_model)
    choice = w.Dropdown(options=list(params), description="tensor")

    def draw(name: str) -> Figure:
        qp = params[name]
        scale, zero = np.atleast_1d(qp.scale), np.atleast_1d(qp.zero_point)
        k = len(scale) // 2
        low, high = (scale[k] * (code - zero[k]) for code in qrange(qp.dtype))
        each = "one for all" if qp.axis is None else f"{len(scale)}, on axis {qp.axis}"
        stages = {"dtype": qp.dtype, "scales": each, "S": f"{scale[k]:.4g}", "Z": f"{zero[k]}"}
        return plot.pipeline(stages | {"holds": f"{low:.4g} … {high:.4g}"}, name.strip("/"))

    hint = "Find the tensor with the largest step: what must it hold? (Of many scales, the middle one.)"
    return InteractiveFigure(hint, draw, [choice], 180)


def follow(stages: Callable[[int, int, int], dict[str, str]], shape: tuple[int, int, int]) -> InteractiveFigure:
    """Choose an output of a layer by channel, row and column and see how its code came about.

    `stages(channel, row, column)` gives `plot.pipeline`'s {what is done: the number it leaves}; `shape` is C×H×W.

    >>> bytes(follow(lambda c, i, j: {"code": f"{c + i + j}"}, (2, 3, 3)).children[-1].value[1:4])
    b'PNG'
    """
    controls = [
        w.IntSlider(n // 2, 0, n - 1, description=name)
        for name, n in zip(("channel", "row", "column"), shape, strict=True)
    ]

    def draw(channel: int, row: int, column: int) -> Figure:
        return plot.pipeline(stages(channel, row, column), f"Channel {channel}, row {row}, column {column}")

    hint = "Choose an output and follow it: where does its code change, where only its exactness?"
    return InteractiveFigure(hint, draw, controls, 180)
