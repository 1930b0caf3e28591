"""What a whole detector's outputs hold: where boxes, scores and more stand in them, in whose units."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from helpers.graph import Model, rest_of, split_graph
from helpers.graph.activations import sigmoid
from helpers.tasks.feeds import Size, height_width
from helpers.tasks.last_layers import Walk

_MOVES = {"Concat", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "Split", "Squeeze",
          "Transpose", "Unsqueeze", "Cast"}  # fmt: skip
_STRIDES = (2, 4, 8, 16, 32, 64, 128)
Shapes = list[tuple[str, tuple[int, ...]]]


class Candidates(NamedTuple):
    """Boxes (N×4, xyxy px of the input), scores (N), classes (N), and what else the head says of each (N×E)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    more: np.ndarray


class Layout(NamedTuple):
    """How a whole detector writes: `task` in Ultralytics' words, `kind`, and how many values come with a box.

    | kind | outputs | boxes |
    |---|---|---|
    | places | 1×(4 + classes + more)×N: v3u … 12, 26 without its end | centre and size, px |
    | ranked | 1×K×(6 + more): box, score, class; v10 and 26 end to end, RT-DETR | corners, px; RT-DETR's as shares |
    | objectness | 1×N×(5 + classes): YOLOX, v5, v7 | centre and size, px; `raw`: as YOLOX leaves them |
    | queries | 1×K×(4 + classes), or 1×K×4 and 1×K×classes of logits: RT-DETR, DETR | centre and size, shares |
    | apart | 1×N×4 and 1×classes×N or 1×N×classes: PP-YOLOE | corners, px |
    """

    task: str
    kind: str
    more: int
    shares: bool = False
    raw: bool = False
    logits: bool = False

    @property
    def overlapping(self) -> bool:
        """Whether boxes of one object are still there, so that suppression is needed."""
        return self.kind in ("places", "objectness", "apart")

    def candidates(self, outputs: Sequence[np.ndarray], size: Size, conf: float) -> Candidates:
        """Every box whose score is above `conf`, from the whole model's outputs for an input of (height, width)."""
        boxes, scores, classes, more = _READ[self.kind](self, outputs, size, conf)
        if self.shares:
            high, wide = height_width(size)
            boxes = boxes * np.array([wide, high, wide, high])
        corners = self.kind == "apart" or (self.kind == "ranked" and not self.shares)
        if not corners and self.task != "obb":
            centre, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = np.concatenate([centre - half, centre + half], 1)
        return Candidates(boxes.astype(np.float64), scores, classes.astype(int), more)


def _above(boxes: np.ndarray, scores: np.ndarray, more: np.ndarray, conf: float) -> tuple[np.ndarray, ...]:
    """Of N×4, N×classes, N×more: (boxes, scores, classes, more) of each place and class above `conf`."""
    places, classes = np.nonzero(scores > conf)
    order = np.argsort(classes, kind="stable")
    places, classes = places[order], classes[order]
    return boxes[places], scores[places, classes], classes, more[places]


def _places(layout: Layout, outputs: Sequence[np.ndarray], size: Size, conf: float) -> tuple[np.ndarray, ...]:
    rows = outputs[0][0].T
    end = rows.shape[1] - layout.more
    return _above(rows[:, :4], rows[:, 4:end], rows[:, end:], conf)


def _ranked(layout: Layout, outputs: Sequence[np.ndarray], size: Size, conf: float) -> tuple[np.ndarray, ...]:
    rows = outputs[0][0]
    rows = rows[rows[:, 4] > conf]
    return rows[:, :4], rows[:, 4], rows[:, 5], rows[:, 6:]


def _objectness(layout: Layout, outputs: Sequence[np.ndarray], size: Size, conf: float) -> tuple[np.ndarray, ...]:
    rows = outputs[0][0]
    boxes = _on_grid(rows[:, :4], size) if layout.raw else rows[:, :4]
    return _above(boxes, rows[:, 4:5] * rows[:, 5:], rows[:, :0], conf)


def _queries(layout: Layout, outputs: Sequence[np.ndarray], size: Size, conf: float) -> tuple[np.ndarray, ...]:
    if len(outputs) == 1:
        boxes, scores = outputs[0][0, :, :4], outputs[0][0, :, 4:]
    else:
        boxes, scores = sorted((o[0] for o in outputs[:2]), key=lambda o: o.shape[1] != 4)
    return _above(boxes, sigmoid(scores) if layout.logits else scores, boxes[:, :0], conf)


def _apart(layout: Layout, outputs: Sequence[np.ndarray], size: Size, conf: float) -> tuple[np.ndarray, ...]:
    boxes, scores = sorted((o[0] for o in outputs[:2]), key=lambda o: o.shape[-1] != 4)
    return _above(boxes, scores if len(scores) == len(boxes) else scores.T, boxes[:, :0], conf)


_READ = {"places": _places, "ranked": _ranked, "objectness": _objectness, "queries": _queries, "apart": _apart}


def _on_grid(boxes: np.ndarray, size: Size) -> np.ndarray:
    """YOLOX's own numbers as centre and size in px: c = (t + cell)·stride, s = e^t·stride; strides 8, 16, 32."""
    high, wide = height_width(size)
    cells, steps = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: high // stride, : wide // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        steps.append(np.full((x.size, 1), stride))
    cell, step = np.concatenate(cells), np.concatenate(steps)
    return np.concatenate([(boxes[:, :2] + cell) * step, np.exp(boxes[:, 2:]) * step], 1)


def of_model(model: Model) -> Layout | None:
    """The layout of a detector, whole or cut by `graph.split_graph`; None for what is no known one.

    >>> from helpers import assets
    >>> of_model(Model.of(assets.model())).kind
    'places'
    """
    rest = rest_of(model)
    whole = model if rest is None else rest
    shapes = [(name, whole.shapes.get(name, ())) for name in whole.outputs]
    inputs = list(model.input_types.values())
    if len(inputs) != 1 or len(inputs[0][1]) != 4 or not shapes or any(0 in s for _, s in shapes):
        return None
    metadata = {entry.key: entry.value for entry in model.proto.metadata_props}
    layout = _of_shapes(shapes, inputs[0][1][2:], metadata, {n.op_type for n in whole.nodes})
    if layout is None or ("names" not in metadata and _branches(model) > (3 if layout.kind == "objectness" else 2)):
        return None
    shares = _is_share(whole)
    if layout.kind == "objectness" and rest is None:
        rest = rest_of(split_graph(model, Walk(model).layers(model.outputs)))
    raw = rest is not None and not {"Add", "Mul", "Exp"} & {n.op_type for n in rest.nodes}
    return layout._replace(shares=shares and layout.kind in ("ranked", "queries"), raw=raw)


def _branches(model: Model) -> int:
    """How many of the last layers write at one place: more than boxes and scores need an exporter's word for them."""
    rest = rest_of(model)
    last = Walk(model).layers(model.outputs) if rest is None else model.outputs
    return max(Counter(model.shapes.get(t, ())[2:] for t in last).values(), default=0)


def _is_share(model: Model) -> bool:
    """Whether the first output's boxes come straight out of a Sigmoid, so that they are shares of the input."""
    node = model.producers.get(model.outputs[0])
    while node is not None and node.op_type in _MOVES:
        node = model.producers.get(node.input[0])
    return node is not None and node.op_type == "Sigmoid"


def _of_shapes(shapes: Shapes, size: Sequence[int], metadata: dict[str, str], ops: set[str]) -> Layout | None:
    """The layout by shapes and what the exporter wrote; `ops` are the operators before the outputs."""
    first = shapes[0][1]
    if any(len(s) < 3 or s[0] != 1 for _, s in shapes[:2]):
        return None
    if len(shapes) == 2 and all(len(s) == 3 for _, s in shapes):
        return _two(shapes, size)
    protos = shapes[1][1] if len(shapes) == 2 and len(shapes[1][1]) == 4 else None
    if len(first) != 3 or len(shapes) > 2 or (len(shapes) == 2 and protos is None):
        return None
    task = metadata.get("task", "detect") if protos is None else "segment"
    more = _more(task, metadata, protos)
    _, rows, width = first
    if more is None:
        return None
    classes = len(_literal(metadata.get("names"))) or None
    if width in _counts(size) and rows > 4 + more and classes in (None, rows - 4 - more):
        return Layout(task, "places", more)
    if "TopK" in ops and width == 6 + more:
        return Layout(task, "ranked", more)
    if rows in _counts(size) | {3 * n for n in _counts(size)} and width > 5 and task == "detect":
        return Layout(task, "objectness", 0)
    return Layout(task, "queries", 0) if task == "detect" and classes == width - 4 else None


def _two(shapes: Shapes, size: Sequence[int]) -> Layout | None:
    """Boxes and scores in two outputs."""
    (_, boxes), (_, scores) = sorted(shapes, key=lambda entry: entry[1][-1] != 4)
    if boxes[-1] != 4:
        return None
    if boxes[1] in _counts(size) and boxes[1] in scores[1:]:
        return Layout("detect", "apart", 0)
    named = {name for name, _ in shapes} == {"logits", "pred_boxes"}
    return Layout("detect", "queries", 0, logits=True) if named and boxes[1] == scores[1] else None


def _more(task: str, metadata: dict[str, str], protos: tuple[int, ...] | None) -> int | None:
    """Values that come with each box; None for a task that has none."""
    if task == "pose":
        return math.prod(_literal(metadata.get("kpt_shape")) or (0,)) or None
    return {"detect": 0, "segment": protos[1] if protos else None, "obb": 1}.get(task)


def _literal(text: str | None) -> Any:
    """What a metadata value says, as Python; empty where it is nothing."""
    try:
        return ast.literal_eval(text or "()")
    except (ValueError, SyntaxError):
        return ()


def _counts(size: Sequence[int]) -> set[int]:
    """How many places a head may have: those of any run of two strides or more."""
    strides = [stride for stride in _STRIDES if stride <= min(size)]
    cells = [math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in strides]
    return {sum(cells[i:j]) for i in range(len(cells)) for j in range(i + 2, len(cells) + 1)}
