"""A YOLOv8 head: where a graph leaves its boxes and its scores, stride by stride; and the graph cut there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from helpers.graph import Model

_NONE = "no YOLOv8 detection head found; give a YOLOv8 detector, exported for detection with a static input."


class Head(NamedTuple):
    """Tensors of DFL logits (4·reg_max × H × W) and of class logits (classes × H × W), finest stride first.

    `cells` holds (H, W) of each stride, so a stride is the input's size over it. YOLOv8 has three strides
    (8, 16, 32), its P2 form four; DFL spreads a side of a box over `reg_max` logits.

    >>> Head(("b",), ("s",), ((4, 6),), 16, 80).outputs
    ['b', 's']
    """

    boxes: tuple[str, ...]
    scores: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]
    reg_max: int
    classes: int

    @property
    def outputs(self) -> list[str]:
        """Boxes and scores in turn, as a cut graph gives them."""
        return [name for pair in zip(self.boxes, self.scores, strict=True) for name in pair]


def of_outputs(outputs) -> Head | None:
    """The head of a graph that was cut, from its outputs [(name, shape)]; None where they are no such head.

    >>> of_outputs([("b", [1, 64, 4, 6]), ("s", [1, 80, 4, 6])]).cells
    ((4, 6),)
    >>> of_outputs([("probability", [1, 1000])])
    """
    pairs = list(zip(outputs[::2], outputs[1::2], strict=False))
    shapes = [tuple(shape) for _, shape in outputs]
    static = all(len(s) == 4 and s[0] == 1 and all(isinstance(d, int) and d > 0 for d in s) for s in shapes)
    if not pairs or len(outputs) % 2 or not static:
        return None
    channels, cells = {(b[1], s[1]) for (_, b), (_, s) in pairs}, [tuple(b[2:]) for (_, b), _ in pairs]
    wide, classes = next(iter(channels))
    matched = all(tuple(s[2:]) == c for (_, (_, s)), c in zip(pairs, cells, strict=True))
    finest_first = all(a[0] > b[0] and a[1] > b[1] for a, b in pairwise(cells))
    if len(channels) != 1 or wide % 4 or wide < 8 or not matched or not finest_first:
        return None
    boxes, scores = zip(*((b, s) for (b, _), (s, _) in pairs), strict=True)
    return Head(boxes, scores, tuple(cells), wide // 4, classes)


def of_model(model: Model) -> Head | None:
    """`of_outputs` of a graph's outputs."""
    return of_outputs([(name, model.shapes[name]) for name in model.outputs])


def is_decoded(outputs, size: tuple[int, int]) -> bool:
    """Whether the one output is 1×(4 + classes)×places, as a whole YOLOv8 gives it for an input of (height, width).

    >>> is_decoded([("output0", [1, 84, 8400])], (640, 640)), is_decoded([("detections", [1, 300, 6])], (640, 640))
    (True, False)
    """
    if len(outputs) != 1 or len(shape := tuple(outputs[0][1])) != 3 or not all(isinstance(d, int) for d in shape):
        return False
    cells = [-(-size[0] // s) * -(-size[1] // s) for s in (2, 4, 8, 16, 32, 64, 128)]
    places = {sum(cells[i:j]) for i in range(len(cells)) for j in range(i + 1, len(cells) + 1)}
    return shape[0] == 1 and shape[1] > 4 and shape[2] in places


def find(model) -> Head:
    """The head of a YOLOv8 graph, whole or cut already; raises ValueError where there is none.

    Every path back from the outputs ends at a learned convolution. Those behind DFL, whose own convolution only
    holds 0, 1, … 15, are the boxes; the others are the scores. Exports before Ultralytics 8.4 join both in one
    Concat and split them again, so the walk keeps count of the channels that it is looking for.
    """
    model = Model.of(model)
    shapes = {name: list(shape) for name, shape in model.shapes.items()}
    outputs, walk = model.outputs, _Walk(model, shapes)
    dfl = [n.input[0] for n in model.nodes if walk.is_dfl(n)]
    if not dfl:
        found = of_outputs([(name, shapes[name]) for name in outputs])
    else:
        boxes = walk.convs(dfl)
        scores = [name for name in walk.convs(outputs) if name not in boxes]
        found = of_outputs(_paired(boxes, scores, shapes))
        if found is None and len(scores) > len(boxes):
            text = f"has {len(boxes)} convolutions for boxes and {len(scores)} others at its end"
            raise ValueError(
                f"{text}, where a detector has as many scores as boxes; give one, no segmenter or the like."
            )
    if found is None:
        raise ValueError(_NONE)
    return found


def _paired(boxes, scores, shapes) -> list[tuple[str, list]]:
    """(name, shape) of boxes and scores in turn, the finest first; empty where they do not come in pairs."""
    if len(boxes) != len(scores) or any(len(shapes.get(name, ())) != 4 for name in (*boxes, *scores)):
        return []
    columns = [sorted(names, key=lambda name: shapes[name][2:], reverse=True) for names in (boxes, scores)]
    return [(name, shapes[name]) for pair in zip(*columns, strict=True) for name in pair]


class _Walk:
    """Back through a graph to the learned convolutions that some channels of a tensor come from."""

    def __init__(self, model: Model, shapes: dict):
        self.producer, self.stored, self.shapes = model.producers, model.constants, shapes

    def is_dfl(self, node) -> bool:
        """Whether a convolution's weights are 0, 1, 2, …, as only DFL's are."""
        weight = self.stored.get(node.input[1]) if node.op_type == "Conv" else None
        return weight is not None and weight.size > 1 and np.array_equal(weight.ravel(), np.arange(weight.size))

    def convs(self, names) -> list[str]:
        """Outputs of the last convolutions before `names`."""
        found, seen, todo = [], set(), [(name, None) for name in names]
        while todo:
            at = name, channels = todo.pop(0)
            node = self.producer.get(name)
            if node is None or at in seen:
                continue
            seen.add(at)
            if node.op_type != "Conv" or self.is_dfl(node):
                todo += self._before(node, name, channels)
            elif name not in found:
                found.append(name)
        return found

    def _before(self, node, name: str, channels) -> list[tuple]:
        """The inputs of a node and their channels (first, last + 1) that those of its output `name` come from."""
        kind, axis, rank = node.op_type, self._axis(node), len(self.shapes.get(name, ()))
        if kind == "Split" and axis == 1 and (widths := self._widths(node.output)):
            k = list(node.output).index(name)
            first, last = channels or (0, widths[k])
            return [(node.input[0], (sum(widths[:k]) + first, sum(widths[:k]) + last))]
        if kind == "Concat" and axis == 1 and channels and (widths := self._widths(node.input)):
            ends = np.cumsum(widths).tolist()
            parts = zip(node.input, [0, *ends], ends, strict=False)
            first, last = channels
            return [(t, (max(first - a, 0), min(last, b) - a)) for t, a, b in parts if first < b and last > a]
        same = kind in ("Concat", "Identity", "Sigmoid") or (kind == "Reshape" and self._keeps_channels(node, name))
        kept = channels if same and rank > 1 else None
        return [(t, kept) for t in node.input]

    def _axis(self, node) -> int | None:
        """The axis of a Split or Concat, counted from the front."""
        for attribute in node.attribute:
            if attribute.name == "axis":
                return attribute.i % (len(self.shapes.get(node.output[0], ())) or 1)
        return 0 if node.op_type == "Split" else None

    def _widths(self, names) -> list[int]:
        """The channels of each tensor; empty where one is not known."""
        found = [(*self.shapes.get(name, ()), None, None)[1] for name in names]
        return found if all(isinstance(width, int) for width in found) else []

    def _keeps_channels(self, node, name: str) -> bool:
        """Whether a Reshape only joins places: 1×C×H×W to 1×C×HW."""
        before, after = self.shapes.get(node.input[0], ()), self.shapes.get(name, ())
        return len(before) > 1 and len(after) > 1 and list(before[:2]) == list(after[:2])


def head_convs(model) -> list[str]:
    """Output tensors of YOLOv8's last convolutions: (boxes, scores) per stride, finest stride first; `find`.

    `model` is a path, a ModelProto or a `graph.Model`. Raises ValueError where there is no such head.
    """
    return find(model).outputs


def split_head(model_path, out) -> Path:
    """Cut a YOLOv8 graph at its last convolutions, so that boxes and scores each keep a scale of their own.

    The full graph ends in one Concat of boxes (0…640) and scores (0…1); under one 8-bit scale,
    S = 640/255 ≈ 2.5, every score is below half a step and becomes 0. `vision` decodes outside of the graph.
    Outputs: (box logits 1×4·reg_max×H×W, class logits 1×classes×H×W) per stride, finest first. Any version of
    Ultralytics may have exported it, with any number of strides.

    Raises ValueError (no YOLOv8 head, dynamic input, not ONNX). Source: Ultralytics' `Detect` module;
    Li et al., "Generalized Focal Loss", 2020 (DFL).

    >>> import tempfile; from helpers import assets
    >>> with tempfile.TemporaryDirectory() as d:
    ...     len(Model.of(split_head(assets.model(), Path(d) / "split.onnx")).outputs)
    6
    """
    model = Model.of(model_path)
    try:
        outputs = head_convs(model)
    except ValueError as e:
        raise ValueError(f"{model_path}: {e}") from None
    cut = onnx.utils.Extractor(model.inferred).extract_model(list(model.inputs), outputs)
    cut.metadata_props.extend(model.proto.metadata_props)
    return Model(cut).with_stored_constants().save(out)
