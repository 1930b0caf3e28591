"""A YOLOv8 head: where a graph leaves its boxes and its scores, stride by stride; and the graph cut there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import onnx

from helpers.graph import Model, ModelLike, StrPath, rest_of, split_graph
from helpers.tasks import layout
from helpers.tasks.last_layers import Walk

NamedShape = tuple[str, Sequence[int]]
_NONE = "no YOLOv8 detection head found; give a YOLOv8 detector, exported for detection with a static input."


class Head(NamedTuple):
    """Tensors of DFL logits (4·reg_max × H × W) and of class logits (classes × H × W), finest stride first.

    `cells` holds (H, W) of each stride; DFL spreads a side of a box over `reg_max` logits.

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


def of_outputs(outputs: Sequence[NamedShape]) -> Head | None:
    """The head of a graph that was cut, from its outputs [(name, shape)]; None where they are no such head.

    >>> of_outputs([("b", [1, 64, 4, 6]), ("s", [1, 80, 4, 6])]).cells
    ((4, 6),)
    >>> of_outputs([("probability", [1, 1000])])
    """
    shapes = [tuple(shape) for _, shape in outputs]
    static = all(len(s) == 4 and s[0] == 1 and all(isinstance(d, int) and d > 0 for d in s) for s in shapes)
    if not outputs or len(outputs) % 2 or not static:
        return None
    boxes, scores = shapes[::2], shapes[1::2]
    cells = [(high, wide) for _, _, high, wide in boxes]
    channels = {(b[1], s[1]) for b, s in zip(boxes, scores, strict=True)}
    box_channels, classes = next(iter(channels))
    one_kind = len(channels) == 1 and box_channels % 4 == 0 and box_channels >= 8
    alike = all(s[2:] == c for s, c in zip(scores, cells, strict=True))
    finest_first = all(a[0] > b[0] and a[1] > b[1] for a, b in pairwise(cells))
    if not (one_kind and alike and finest_first):
        return None
    names = [name for name, _ in outputs]
    return Head(tuple(names[::2]), tuple(names[1::2]), tuple(cells), box_channels // 4, classes)


def of_model(model: Model) -> Head | None:
    """`of_outputs` of a graph's outputs."""
    return of_outputs([(name, model.shapes.get(name, ())) for name in model.outputs])


def is_decoded(outputs: Sequence[NamedShape], size: tuple[int, int]) -> bool:
    """Whether the one output is 1×(4 + classes)×places, as a whole YOLOv8 gives it for an input of (height, width).

    >>> is_decoded([("output0", [1, 84, 8400])], (640, 640)), is_decoded([("detections", [1, 300, 6])], (640, 640))
    (True, False)
    """
    if len(outputs) != 1:
        return False
    shape = tuple(outputs[0][1])
    if len(shape) != 3 or not all(isinstance(d, int) for d in shape):
        return False
    batch, channels, places = shape
    cells = [math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in (2, 4, 8, 16, 32, 64, 128)]
    of_some_strides = {sum(cells[i:j]) for i in range(len(cells)) for j in range(i + 1, len(cells) + 1)}
    return batch == 1 and channels > 4 and places in of_some_strides


def find(model: ModelLike) -> Head:
    """The head of a YOLOv8 graph, whole or cut already; raises ValueError where there is none.

    Every path back from the outputs ends at a learned convolution. Those behind DFL, whose own convolution only
    holds 0, 1, … 15, are the boxes; the others are the scores. Exports before Ultralytics 8.4 join both in one
    Concat and split them again, so the walk keeps count of the channels that it is looking for.

    >>> from helpers import assets
    >>> find(assets.model()).cells
    ((40, 40), (20, 20), (10, 10))
    """
    graph = Model.of(model)
    walk = Walk(graph)
    dfl = [n.input[0] for n in graph.nodes if walk.is_dfl(n)]
    if not dfl:
        found = of_model(graph)
    else:
        boxes = walk.layers(dfl)
        scores = [name for name in walk.layers(graph.outputs) if name not in boxes]
        found = of_outputs(_paired(boxes, scores, graph.shapes))
        if found is None and len(scores) > len(boxes):
            text = f"has {len(boxes)} convolutions for boxes and {len(scores)} others at its end, where a detector has"
            raise ValueError(f"{text} as many scores as boxes; give one, no segmenter or the like.")
    if found is None:
        raise ValueError(_NONE)
    return found


def _paired(boxes: list[str], scores: list[str], shapes: Mapping[str, tuple[int, ...]]) -> list[NamedShape]:
    """(name, shape) of boxes and scores in turn, the finest first; empty where they do not come in pairs."""
    if len(boxes) != len(scores) or any(len(shapes.get(name, ())) != 4 for name in (*boxes, *scores)):
        return []
    columns = [sorted(names, key=lambda name: shapes[name][2:], reverse=True) for names in (boxes, scores)]
    return [(name, shapes[name]) for pair in zip(*columns, strict=True) for name in pair]


def head_convs(model: ModelLike) -> list[str]:
    """Output tensors of YOLOv8's last convolutions: boxes and scores in turn, finest stride first.

    Raises ValueError where there is no such head.

    >>> from helpers import assets
    >>> len(head_convs(assets.model()))
    6
    """
    return find(model).outputs


def split_head(model: ModelLike, out: StrPath) -> Path:
    """Cut a detector at its last learned layers, so that boxes and scores each keep a scale of their own.

    The full graph ends in one Concat of boxes (0…640) and scores (0…1); under one 8-bit scale,
    S = 640/255 ≈ 2.5, every score is below half a step and becomes 0.
    Of YOLOv8 and its like the outputs are (box logits 1×4·reg_max×H×W, class logits 1×classes×H×W) per stride, finest
    first. Of every other detector, segmenter, pose or rotated-box model that `layout.of_model` knows they are what
    those layers make, and the float rest behind them goes into the file's metadata (`graph.split_graph`).

    Raises ValueError (no such head, dynamic input, not ONNX). Source: Ultralytics' `Detect` module;
    Li et al., "Generalized Focal Loss", 2020 (DFL).

    >>> import tempfile; from helpers import assets
    >>> with tempfile.TemporaryDirectory() as d:
    ...     len(Model.of(split_head(assets.model(), Path(d) / "split.onnx")).outputs)
    6
    """
    graph = Model.of(model)
    if is_plain(graph):
        cut = onnx.utils.Extractor(graph.inferred).extract_model(list(graph.inputs), find(graph).outputs)
        cut.metadata_props.extend(graph.proto.metadata_props)
        return Model(cut).with_stored_constants().save(out)
    if layout.of_model(graph) is None:
        try:
            find(graph)
        except ValueError as e:
            raise ValueError(f"{graph}: {e}") from None
        raise ValueError(f"{graph}: {_NONE}")
    whole = rest_of(graph) is None
    return (split_graph(graph, Walk(graph).layers(graph.outputs)) if whole else graph).save(out)


def is_plain(model: Model) -> bool:
    """Whether a graph, whole or cut, is boxes by DFL and class logits that `yolo_decode.decode` knows how to read."""
    if rest_of(model) is not None:
        return False
    found = layout.of_model(model)
    if found is not None and (found.task, found.kind) != ("detect", "places"):
        return False
    try:
        find(model)
    except ValueError:
        return False
    return of_model(model) is not None or found is not None
