"""Level the channels between two layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, numpy_helper

from helpers.graph import Feed, Model, ModelLike, StrPath, float_model
from helpers.qdq.parts import Parts
from helpers.repair.moments import as_stored, attribute, groups_of, in_rows, weight_layers

_HEADROOM = 2  # how far above what was seen a Clip's ceiling stays
_LETS_THROUGH = {"Relu", "MaxPool", "AveragePool", "GlobalAveragePool"}  # f(s·x) = s·f(x) for s > 0


class Pair(NamedTuple):
    """Two layers; `middle` is the tensor that the second one reads, `ceiling` the upper end of a Clip in between."""

    first: NodeProto
    second: NodeProto
    middle: str
    ceiling: float | None


def equalize(fp32: ModelLike, out: StrPath, maxima: Mapping[str, np.ndarray] | None = None) -> Path:
    """Level the channels between two layers: w₁ᵢ/sᵢ, sᵢ·w₂ᵢ; the outputs are the same.

    Without `maxima` sᵢ = √(max|w₁ᵢ|/max|w₂ᵢ|), for weights with one scale for all channels. With `maxima`, what
    `channel_maxima` saw, aᵢ: sᵢ = √(aᵢ/max|w₂ᵢ|), and sᵢ = aᵢ before a depthwise layer, whose weights have a scale
    for each channel anyway; that levels activations. Layers are Conv (depthwise too) and Gemm.

    Exact only where Relu, pooling or nothing lies between: f(s·x) = s·f(x) holds for them, not for SiLU. A Clip to
    0…c lets no scale through either, but with `maxima` it stays: a channel that reaches c keeps its scale, others are
    raised at most to c/2, which is exact for values up to twice those that were seen. A graph without such a pair
    raises ValueError, YOLOv8 among them. Source: Nagel et al. 2019, section 4.1; Xiao et al., "SmoothQuant", 2023.

    >>> equalize("data/scenes.onnx", "unused.onnx")
    Traceback (most recent call last):
    ValueError: data/scenes.onnx: no two layers with only Relu between them; SiLU does not let a scale through.
    """
    model = float_model(fp32).copy()
    pairs = [pair for pair in pairs_of(model) if maxima is not None or pair.ceiling is None]
    if not pairs:
        text = "no two layers with only Relu between them; SiLU does not let a scale through."
        raise ValueError(f"{fp32}: {text}")
    stored = {t.name: t for t in model.proto.graph.initializer}
    weights = {name: numpy_helper.to_array(stored[name]) for p in pairs for n in p[:2] for name in n.input[1:3]}
    for pair in pairs:
        s = _scales(pair, weights, maxima)
        w1, w2 = pair.first.input[1], pair.second.input[1]
        weights[w1] = as_stored(pair.first, in_rows(pair.first, weights[w1]) / s[:, None], weights[w1].shape)
        if len(pair.first.input) > 2:
            weights[pair.first.input[2]] = weights[pair.first.input[2]] / s
        weights[w2] = _times_inputs(pair.second, weights[w2], s)
    for name, array in weights.items():
        stored[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    return model.save(out)


def channel_maxima(fp32: ModelLike, feeds: Iterable[Feed]) -> dict[str, np.ndarray]:
    """The largest |x| of each channel between the pairs that `equalize` levels: {tensor: C}; empty without pairs."""
    model = float_model(fp32)
    middles = [pair.middle for pair in pairs_of(model)]
    look, found = Parts(model, [middles], optimize=True), dict[str, np.ndarray]()
    for feed in feeds if middles else ():
        for name, x in next(look(dict(feed))).items():
            seen = np.abs(x).max(tuple(k for k in range(x.ndim) if k != 1))
            found[name] = np.maximum(found.get(name, 0), seen)
    return found


def pairs_of(model: Model) -> Iterator[Pair]:
    """Layers one after the other with nothing between that bends, whose weights and biases nothing else reads."""
    readers, kept = model.consumers, set(model.outputs)
    layers = {n.output[0]: n for n in weight_layers(model) if n.op_type != "MatMul" and _alone(model, n)}

    for first in layers.values():
        tensor, ceiling = first.output[0], None
        while True:
            nodes = readers.get(tensor, [])
            if len(nodes) != 1 or tensor in kept:
                break
            node = nodes[0]
            if node.op_type in _LETS_THROUGH:
                tensor = node.output[0]
            elif node.op_type == "Clip" and ceiling is None and (top := _ceiling(model, node)):
                tensor, ceiling = node.output[0], top
            else:
                if node.output[0] in layers and node.input[0] == tensor and _reads_channels(model, first, node):
                    yield Pair(first, node, tensor, ceiling)
                break


def _alone(model: Model, node: NodeProto) -> bool:
    """Whether nothing else reads what a layer stores, and all of it is stored."""
    stored = {t.name for t in model.proto.graph.initializer}
    return all(name in stored and len(model.consumers[name]) == 1 for name in node.input[1:])


def _ceiling(model: Model, node: NodeProto) -> float | None:
    """The upper end of a Clip that starts at zero, such as ReLU6."""
    ends = [model.constants.get(name) for name in node.input[1:]]
    if len(ends) == 2 and all(e is not None and e.size == 1 for e in ends) and float(ends[0].item()) == 0:  # type: ignore[union-attr]
        return float(ends[1].item())  # type: ignore[union-attr]
    return None


def _reads_channels(model: Model, first: NodeProto, second: NodeProto) -> bool:
    """Whether the channels that `first` makes are those that `second` reads, one by one or each by all."""
    made, weight = len(in_rows(first, model.constants[first.input[1]])), model.constants[second.input[1]]
    groups = groups_of(second)
    if second.op_type == "Gemm":
        return first.op_type == "Gemm" and in_rows(second, weight).shape[1] == made
    return (
        first.op_type == "Conv"
        and (groups == 1 or groups == made == len(weight))
        and attribute(second, "auto_pad", b"NOTSET") in (b"NOTSET", "NOTSET")
    )


def _times_inputs(node: NodeProto, weight: np.ndarray, s: np.ndarray) -> np.ndarray:
    """A layer's weights with those of each input channel times s."""
    if node.op_type == "Gemm":
        return as_stored(node, in_rows(node, weight) * s, weight.shape)
    return weight * (s[:, None, None, None] if groups_of(node) > 1 else s[:, None, None])


def _scales(pair: Pair, weights: Mapping[str, np.ndarray], maxima: Mapping[str, np.ndarray] | None) -> np.ndarray:
    """s of each channel, 1 where a channel is empty on either side."""
    w1, w2 = weights[pair.first.input[1]], weights[pair.second.input[1]]
    depthwise = groups_of(pair.second) > 1
    if pair.second.op_type == "Gemm":
        r2 = np.abs(in_rows(pair.second, w2)).max(0)
    else:
        r2 = np.abs(w2).max((1, 2, 3) if depthwise else (0, 2, 3))
    if maxima is None:
        return _root(np.abs(in_rows(pair.first, w1)).max(1), r2)
    seen = maxima[pair.middle]
    s = np.where(seen > 0, seen, 1) if depthwise else _root(seen, r2)
    if pair.ceiling is None:
        return s.astype(np.float32)
    least = _HEADROOM * seen / pair.ceiling  # of s: what is divided by less comes too close to the ceiling
    return np.clip(s / s.max(), np.clip(least, 1e-2, 1), 1.0).astype(np.float32)


def _root(r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """s = √(r1/r2), 1 where either is zero."""
    both = (r1 > 0) & (r2 > 0)
    s = np.sqrt(np.where(both, r1, 1) / np.where(both, r2, 1))
    return np.where(s > 0, s, 1).astype(np.float32)
