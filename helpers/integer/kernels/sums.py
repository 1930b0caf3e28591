"""Sums of products of 8-bit codes: exact in int32 by float32 matrix products, then the HTP's rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.affine import QParams
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import Operator, refuse, stored

EXACT = 1 << 10  # so many products of 8-bit codes, each at most 2¹⁴, sum exactly in float32


@dataclass(frozen=True)
class Sums:
    """q = requantize(Σ (q_x − Z_x)·q_w + bias), one multiplier S_x·S_w/S_y for each output channel.

    `matrix` is (channels, depth), float32, for inputs that are moved to −128 … 127; `bias`, `m` and `e` are
    (channels, 1), int32; `zero` is the output's zero point.
    """

    matrix: np.ndarray
    bias: np.ndarray
    m: np.ndarray
    e: np.ndarray
    zero: int

    def codes(self, patches: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Codes (channels, n) of moved inputs (depth, n), float32, for some `rows` of the matrix."""
        sums = product(self.matrix[rows], patches)
        sums += self.bias[rows]
        return htp_rounding.htp_requantize(sums, self.m[rows], self.e[rows], self.zero)


def prepare(op: Operator, matrix: np.ndarray, channel_axis: int = 0) -> Sums:
    """The sums of an operator with inputs (x, weights, bias): `matrix` holds the weights' codes, (channels, depth).

    `channel_axis` is where the stored weights have their output channels. Raises ValueError for weights and biases that
    are not as the HTP takes them.
    """
    x, w, y = op.inputs[0], op.inputs[1], op.outputs[0]
    if len(op.inputs) != len(op.stored):
        refuse(op, "its weights or its bias are not quantized")
    _refuse_weights(op, w)
    if w.axis not in (None, channel_axis):
        raise ValueError(f"{op.name}: its weights have a scale per index of axis {w.axis}; give each channel one.")
    scale = np.broadcast_to(np.asarray(w.scale, np.float32), len(matrix))
    multiplier = np.float32(x.scale) * scale.max() / np.float32(y.scale) * (scale / scale.max())  # in this order
    m, e = (v.astype(np.int32)[:, None] for v in htp_rounding.fixed_point(multiplier, 12))
    return Sums(matrix.astype(np.float32), _bias(op, matrix.astype(np.int32), scale), m, e, int(y.zero_point))


def _refuse_weights(op: Operator, w: QParams) -> None:
    """Raise ValueError unless the weights are int8, or int4 with a scale for each channel, and symmetric."""
    if w.dtype not in ("int8", "int4"):
        raise ValueError(f"{op.name}: its weights are {w.dtype}; quantize them to int8 or int4.")
    if np.any(w.zero_point):
        raise ValueError(f"{op.name}: its weights have a zero point; quantize them symmetrically, Z = 0.")
    if w.dtype == "int4" and w.axis is None:
        raise ValueError(f"{op.name}: its weights are int4 with one scale for all; quantize them per channel.")


def _bias(op: Operator, matrix: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What each channel's sum begins with, (channels, 1) int32, for inputs that are moved to −128 … 127.

    Σ (q_x − Z)·q_w = Σ (q_x − 128)·q_w + (128 − Z)·Σ q_w: the products stay small.
    """
    x, w = op.inputs[:2]
    bias = (128 - int(x.zero_point)) * matrix.sum(1)
    if len(op.inputs) > 2:
        largest, step = np.float32(np.max(op.inputs[2].scale)), np.float32(x.scale)
        if not np.allclose(op.inputs[2].scale, step * scale, rtol=1e-3, atol=0):
            raise ValueError(f"{op.name}: its bias is not at S = S_x·S_w; write the graph with `qdq.quantize_model`.")
        per_channel = w.axis is not None
        bias = bias + htp_rounding.stored_bias(stored(op, 2, "biases"), largest, step * scale.max(), per_channel)
    return bias.astype(np.int32)[:, None]


def moved(codes: np.ndarray) -> np.ndarray:
    """uint8 codes as −128 … 127, float32."""
    return codes.astype(np.float32) - 128


def product(matrix: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """matrix @ patches as int32, EXACT of the depth at a time: BLAS is fast, and exact below 2²⁴."""
    total = (matrix[:, :EXACT] @ patches[:EXACT]).astype(np.int32)
    for k in range(EXACT, len(patches), EXACT):
        total += (matrix[:, k : k + EXACT] @ patches[k : k + EXACT]).astype(np.int32)
    return total
