"""Level the channels between two convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import NodeProto, numpy_helper

from helpers.graph import Model, ModelLike, StrPath, float_model


def equalize(fp32: ModelLike, out: StrPath) -> Path:
    """Level the channels between two convolutions: w₁ᵢ/sᵢ, sᵢ·w₂ᵢ with sᵢ = √(max|w₁ᵢ|/max|w₂ᵢ|); outputs are the same.

    Exact only where nothing but Relu or nothing lies between: f(s·x) = s·f(x) holds for it, not for SiLU, so a graph
    without such a pair raises ValueError, YOLOv8 among them. Source: Nagel et al. 2019, section 4.1.

    >>> equalize("data/scenes.onnx", "unused.onnx")
    Traceback (most recent call last):
    ValueError: data/scenes.onnx: no two convolutions with only Relu between them; SiLU does not let a scale through.
    """
    model = float_model(fp32).copy()
    pairs = list(_pairs(model))
    if not pairs:
        text = "no two convolutions with only Relu between them; SiLU does not let a scale through."
        raise ValueError(f"{fp32}: {text}")
    stored = {t.name: t for t in model.proto.graph.initializer}
    for first, second in pairs:
        w1, w2 = (numpy_helper.to_array(stored[node.input[1]]) for node in (first, second))
        s = _levels(np.abs(w1).max((1, 2, 3)), np.abs(w2).max((0, 2, 3)))
        made = {first.input[1]: w1 / s[:, None, None, None], second.input[1]: w2 * s[:, None, None]}
        if len(first.input) > 2:
            made[first.input[2]] = numpy_helper.to_array(stored[first.input[2]]) / s
        for name, array in made.items():
            stored[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    return model.save(out)


def _pairs(model: Model) -> Iterator[tuple[NodeProto, NodeProto]]:
    """(first, second) convolutions with nothing but Relu between them, whose weights nothing else reads."""
    stored, readers = {t.name for t in model.proto.graph.initializer}, model.consumers
    kept = set(model.outputs)

    def only_reader(tensor: str) -> NodeProto | None:
        nodes = readers.get(tensor, [])
        return nodes[0] if len(nodes) == 1 and tensor not in kept else None

    for first in [n for n in model.nodes if n.op_type == "Conv" and n.input[1] in stored]:
        tensor, second = first.output[0], only_reader(first.output[0])
        while second is not None and second.op_type == "Relu":
            tensor, second = second.output[0], only_reader(second.output[0])
        if second is None or second.op_type != "Conv" or second.input[1] not in stored or second.input[0] != tensor:
            continue
        grouped = model.constants[second.input[1]].shape[1] != len(model.constants[first.input[1]])
        if not grouped and all(len(readers[node.input[1]]) == 1 for node in (first, second)):
            yield first, second


def _levels(r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """s = √(r1/r2) of each channel, 1 where a channel is empty on either side."""
    both = (r1 > 0) & (r2 > 0)
    s = np.sqrt(np.where(both, r1, 1) / np.where(both, r2, 1))
    return np.where(s > 0, s, 1).astype(np.float32)
