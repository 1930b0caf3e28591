"""What a network costs before anybody runs it: multiplications and bytes of each layer, and the roofline over them."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

from helpers.assets import places
from helpers.graph.model import Model, ModelLike


class Layer(NamedTuple):
    """One operator: its multiply-accumulates, and how many values it reads, writes and holds as weights."""

    name: str
    op: str
    macs: int
    reads: int
    writes: int
    weights: int


def layers(model: ModelLike) -> list[Layer]:
    """Every operator of a float model in its order; SiLU's Sigmoid and Mul count as one with the Conv before them.

    A Conv has C_out·H·W·(C_in/groups)·k² MACs. Operators that only rename codes (Reshape, Split, Slice) move nothing.
    Raises as `Model.of` does.

    >>> from helpers import assets
    >>> round(sum(layer.macs for layer in layers(assets.model())) / 1e9, 2)
    0.35
    """
    graph = Model.of(model)
    stored = {t.name for t in graph.proto.graph.initializer}
    sizes = {tensor: math.prod(shape) for tensor, shape in graph.shapes.items()}
    found = []
    for node in graph.nodes:
        if node.op_type not in ("Conv", "Add", "Concat", "MaxPool", "Resize"):
            continue
        reads = sum(sizes.get(t, 0) for t in node.input if t not in stored)
        writes = sizes.get(node.output[0], 0)
        macs = weights = 0
        if node.op_type == "Conv":
            macs = writes * math.prod(graph.shapes[node.input[1]][1:])
            weights = sum(sizes[t] for t in node.input[1:] if t in stored)
        found.append(Layer(node.name, node.op_type, macs, reads, writes, weights))
    return found


def yolov8n() -> list[Layer]:
    """`layers` of the real YOLOv8n at 640, head cut, kept as numbers in data/ so that no download is needed.

    >>> round(sum(layer.macs for layer in yolov8n()) / 1e9, 2)
    4.37
    """
    text = (places.DATA / "yolov8n_layers.json").read_text(encoding="utf-8")
    return [Layer(*row) for row in json.loads(text)]


def seconds(
    layer: Layer, macs_per_second: float, bytes_per_second: float, activation: float = 1, weight: float = 1
) -> float:
    """The roofline's least time of a layer: max(MACs / peak, bytes / bandwidth).

    `activation` and `weight` are widths in bytes. Raises ZeroDivisionError for a peak or a bandwidth of 0.
    Source: Williams, Waterman, Patterson, "Roofline", CACM 2009.

    >>> seconds(Layer("", "Conv", 2000, 10, 10, 0), macs_per_second=1000, bytes_per_second=40)
    2.0
    """
    moved = (layer.reads + layer.writes) * activation + layer.weights * weight
    return max(layer.macs / macs_per_second, moved / bytes_per_second)
