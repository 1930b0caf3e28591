"""What will be hard in 8 bits, seen before any calibration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from helpers import targets
from helpers.graph import Feed, Model

WIDE = ("Softmax", "Exp", "Pow", "Div", "Reciprocal", "ReduceSumSquare")  # few large values beside many small ones
LOST = 0.5  # share of values that round to zero above which a tensor is called hard
LOW_DB = 25.0  # SQNR below which a channel of weights is


class HardSpot(NamedTuple):
    """A tensor that 8 bits serve badly: why, and what helps."""

    tensor: str
    why: str
    remedy: str


def hard_spots(model: Model, feed: Feed) -> list[HardSpot]:
    """Tensors of a float graph that lose much under one 8-bit scale, the worst first of each kind.

    Activations behind Softmax, Exp, Pow, Div and the like, of which more than half of the values, on this feed, are
    nearer to zero than half a step (max − min)/255; weights of MatMul and Gemm, which have one scale per tensor on the
    HTP, of which an output channel keeps less than 25 dB. Raises RuntimeError where the model does not run.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) { y = Exp(x) }')
    >>> [spot.why for spot in hard_spots(Model(net), {"x": np.float32([-5, -4, 10])})]
    ['Exp: 67 % of its values round to zero in 8 bits, for they reach from 0.00674 to 2.2e+04']
    """
    return [*_activations(model, feed), *_weights(model)]


def _activations(model: Model, feed: Feed) -> Iterator[HardSpot]:
    nodes = [n for n in model.nodes if n.op_type in WIDE]
    if not nodes:
        return
    tensors = [n.output[0] for n in nodes]
    arrays = targets.load(model.with_outputs(tensors)).run(None, feed)
    found = [(_lost(x), node, x) for node, x in zip(nodes, arrays, strict=True) if x.dtype.kind == "f" and x.size]
    for lost, node, x in sorted(found, key=lambda item: -item[0]):
        if lost > LOST:
            ends = f"they reach from {x.min():.3g} to {x.max():.3g}"
            why = f"{node.op_type}: {100 * lost:.0f} % of its values round to zero in 8 bits, for {ends}"
            yield HardSpot(node.output[0], why, "calibrate it with mse, or give it 16 bits (a16)")


def _lost(x: np.ndarray) -> float:
    """Share of the values that are not zero and become it."""
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    return float(np.mean((np.abs(x) < step / 2) & (x != 0)))


def _weights(model: Model) -> Iterator[HardSpot]:
    found: dict[str, tuple[float, float]] = {}
    for node in model.nodes:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in model.constants:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            found[node.input[1]] = _worst_channel(model.constants[node.input[1]], 0 if transposed else -1)
    for tensor, (db, spread) in sorted(found.items(), key=lambda item: item[1]):
        if db < LOW_DB:
            why = f"weights with one scale, {db:.0f} dB in the smallest channel: the largest is {spread:.0f} × as large"
            yield HardSpot(
                tensor, why, "equalize it with what is before it, or write it as a 1×1 Conv: a scale per channel"
            )


def _worst_channel(w: np.ndarray, axis: int) -> tuple[float, float]:
    """SQNR in dB of the channel that int8 with one scale serves worst, and how far the largest peak is from its own.

    Channels of zeros alone lose nothing and do not count.
    """
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1).astype(np.float64)
    rows = rows[np.abs(rows).max(axis=1) > 0]
    if not len(rows):
        return np.inf, 1.0
    peaks, step = np.abs(rows).max(axis=1), np.abs(rows).max() / 127
    error = rows - np.round(rows / step) * step
    db = 10 * np.log10((rows**2).sum(axis=1) / np.maximum((error**2).sum(axis=1), 1e-30))
    worst = int(db.argmin())
    return float(db[worst]), float(peaks.max() / peaks[worst])
