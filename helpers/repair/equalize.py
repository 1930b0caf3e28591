"""Level the channels between two convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import numpy_helper

from helpers.graph import constants, float_model, save_model


def equalize(fp32, out) -> Path:
    """Level the channels between two convolutions: w₁ᵢ/sᵢ, sᵢ·w₂ᵢ with sᵢ = √(max|w₁ᵢ|/max|w₂ᵢ|); outputs are the same.

    Exact only where nothing but Relu or nothing lies between: f(s·x) = s·f(x) holds for it, not for SiLU, so a graph
    without such a pair raises ValueError, YOLOv8 among them. Source: Nagel et al. 2019, section 4.1.

    >>> equalize("data/scenes.onnx", "unused.onnx")
    Traceback (most recent call last):
    ValueError: data/scenes.onnx: no two convolutions with only Relu between them; SiLU does not let a scale through.
    """
    model = float_model(fp32)
    stored, tensors = constants(model), {t.name: t for t in model.graph.initializer}
    readers = {}
    for node in model.graph.node:
        for t in node.input:
            readers.setdefault(t, []).append(node)
    kept = {o.name for o in model.graph.output}
    found = 0
    for first in [n for n in model.graph.node if n.op_type == "Conv" and n.input[1] in tensors]:
        t = first.output[0]
        while t not in kept and len(readers[t]) == 1 and readers[t][0].op_type == "Relu":
            t = readers[t][0].output[0]
        second = readers[t][0] if t not in kept and len(readers[t]) == 1 else None
        if second is None or second.op_type != "Conv" or second.input[1] not in tensors or second.input[0] != t:
            continue
        names = first.input[1], second.input[1]
        if stored[names[1]].shape[1] != len(stored[names[0]]) or any(len(readers[n]) > 1 for n in names):
            continue  # grouped, or weights that another node shares
        w1, w2 = stored[names[0]], stored[names[1]]
        r1, r2 = np.abs(w1).max((1, 2, 3)), np.abs(w2).max((0, 2, 3))
        s = np.where((r1 > 0) & (r2 > 0), np.sqrt(np.where(r2 > 0, r1, 1) / np.where(r2 > 0, r2, 1)), 1)
        s = np.where(s > 0, s, 1).astype(np.float32)
        stored[names[0]], stored[names[1]] = w1 / s[:, None, None, None], w2 * s[:, None, None]
        if len(first.input) > 2:
            stored[first.input[2]] = stored[first.input[2]] / s
        for name in (*first.input[1:], names[1]):
            tensors[name].CopyFrom(numpy_helper.from_array(stored[name].astype(np.float32), name))
        found += 1
    if not found:
        text = "no two convolutions with only Relu between them; SiLU does not let a scale through."
        raise ValueError(f"{fp32}: {text}")
    return save_model(model, out)
