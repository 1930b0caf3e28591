"""A Clip whose upper bound is each channel's own: ONNX's Clip has one bound for all, a Min has a number for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from helpers.graph.model import Model, ModelLike


def with_channel_bounds(model: ModelLike, bounds: Mapping[str, np.ndarray]) -> Model:
    """The same graph with min(max(x, 0), bound) in place of some Clips from 0 on, as a Relu and a Min.

    `bounds` is {output of a Clip: C numbers}, one a channel (axis 1 of 4). Raises ValueError for another tensor.

    >>> from helpers import assets
    >>> name = "/stem/stem.2/Clip_output_0"
    >>> bounded = with_channel_bounds(assets.model("shapes_classifier"), {name: np.full(16, 6.0)})
    >>> bounded.producers[name].op_type, bounded.constants[f"{name}_bound"].shape
    ('Min', (1, 16, 1, 1))
    """
    source = Model.of(model)
    for name in bounds:
        node = source.producers.get(name)
        if node is None or node.op_type != "Clip" or np.any(source.constants.get(node.input[1], 1)):
            raise ValueError(f"{source}: '{name}' does not come from a Clip from 0 on; name the output of one.")
    other = source.copy()
    graph = other.proto.graph
    del graph.node[:]
    for node in source.nodes:
        graph.node.extend(_bounded(node) if node.output[0] in bounds else [node])
    for name, bound in bounds.items():
        graph.initializer.append(numpy_helper.from_array(np.float32(bound).reshape(1, -1, 1, 1), f"{name}_bound"))
    return other


def _bounded(clip: NodeProto) -> list[NodeProto]:
    """Relu and Min with the output of a Clip."""
    name, relu = clip.output[0], f"{clip.output[0]}_relu"
    above_zero = helper.make_node("Relu", [clip.input[0]], [relu], f"{clip.name}_relu")
    return [above_zero, helper.make_node("Min", [relu, f"{name}_bound"], [name], f"{clip.name}_min")]
