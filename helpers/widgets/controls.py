"""Hands on weights and tensors: choose one, and see what its scale does."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import ipywidgets as w
import numpy as np
from onnx import ModelProto

from helpers import plot
from helpers.affine import QParams, qrange
from helpers.graph import Model, list_qparams
from helpers.widgets.figure import InteractiveFigure
from helpers.widgets.frame import img


def stages_html(stages: Mapping[str, str], title: str) -> str:
    """`plot.pipeline` in HTML, drawn in no time: {what is done: the number it leaves}, left to right.

    >>> stages_html({"x < 1": "4"}, "a title")
    '<b>a title</b><div class="stages"><div><b>4</b><span>x &lt; 1</span></div></div>'
    """
    boxes = (f"<div><b>{html.escape(n)}</b><span>{html.escape(what)}</span></div>" for what, n in stages.items())
    return f'<b>{html.escape(title)}</b><div class="stages">{"".join(boxes)}</div>'


def pick_weight(weights: Mapping[str, np.ndarray]) -> InteractiveFigure:
    """Choose a weight tensor and see its output channels against the one step that they would share.

    >>> box = pick_weight({"conv.weight": np.arange(1.0, 9).reshape(2, 4)})
    >>> "The smallest channel of conv.weight" in box.picture.value
    True
    """
    choice = w.Dropdown(options=list(weights), description="weight")
    hint = "Look for a layer whose channels differ most: what is left of the smallest under one step?"

    def still(name: str):
        return plot.channels(weights[name], name)

    return InteractiveFigure(hint, lambda name: img(still(name)), [choice], still)


def pick_tensor(qdq_model: str | Path | ModelProto | Model) -> InteractiveFigure:
    """Look up any tensor of a QDQ graph: its dtype, scale, zero point and the reals that it can hold.

    >>> from onnx.helper import make_graph, make_model, make_node, make_tensor
    >>> s, z = make_tensor("s", 1, [], [0.5]), make_tensor("z", 2, [], [3])
    >>> q = make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    >>> box = pick_tensor(make_model(make_graph([q], "g", [], [], [s, z])))
    >>> "-1.5 … 126" in box.picture.value
    True
    """
    params = list_qparams(qdq_model)
    choice = w.Dropdown(options=list(params), description="tensor")
    hint = "Find the tensor with the largest step: what must it hold? (Of many scales, the middle one.)"

    def draw(name: str) -> str:
        return stages_html(_told(params[name]), name)

    return InteractiveFigure(hint, draw, [choice], lambda name: plot.pipeline(_told(params[name]), name.strip("/")))


def _told(qp: QParams) -> dict[str, str]:
    """QParams in words; of many scales the middle one."""
    scale, zero = np.atleast_1d(qp.scale), np.atleast_1d(qp.zero_point)
    k = len(scale) // 2
    low, high = (scale[k] * (code - zero[k]) for code in qrange(qp.dtype))
    each = "one for all" if qp.axis is None else f"{len(scale)}, on axis {qp.axis}"
    said = {"dtype": qp.dtype, "scales": each, "S": f"{scale[k]:.4g}", "Z": f"{zero[k]}"}
    return said | {"holds": f"{low:.4g} … {high:.4g}"}
