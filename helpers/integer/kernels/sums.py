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
    zero: int | None  # None where `bias` holds it: the vector unit's rounding

    def codes(self, patches: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Codes (channels, n) of moved inputs (depth, n), float32, for some `rows` of the matrix."""
        sums = product(self.matrix[rows], patches)
        sums += self.bias[rows]
        if self.zero is None:
            return htp_rounding.vector_requantize(sums, self.m[rows], self.e[rows])
        return htp_rounding.htp_requantize(sums, self.m[rows], self.e[rows], self.zero)


def prepare(op: Operator, matrix: np.ndarray, channel_axis: int = 0, vector_unit: bool = False) -> Sums:
    """The sums of an operator with inputs (x, weights, bias): `matrix` holds the weights' codes, (channels, depth).

    `channel_axis` is where the stored weights have their output channels; `vector_unit`: rounded by it, instead of the
    matrix unit. Raises ValueError for weights and biases that are not as the HTP takes them.
    """
    if len(op.inputs) != len(op.stored):
        refuse(op, "its weights or its bias are not quantized")
    x, w, y = op.inputs[0], op.inputs[1], op.outputs[0]
    _refuse_weights(op, w, channel_axis)
    scale = np.broadcast_to(np.asarray(w.scale, np.float32), len(matrix))
    multiplier = np.float32(x.scale) * scale.max() / np.float32(y.scale) * (scale / scale.max())  # in this order
    m, e = (v.astype(np.int32)[:, None] for v in htp_rounding.fixed_point(multiplier, 15 if vector_unit else 12))
    # Σ (q_x − Z)·q_w = Σ (q_x − 128)·q_w + (128 − Z)·Σ q_w: the products stay small.
    bias = (128 - int(x.zero_point)) * matrix.astype(np.int64).sum(1) + _bias(op, scale, exact=vector_unit)
    if vector_unit:
        bias = bias + np.rint(y.zero_point / multiplier.astype(np.float64)).astype(np.int64)
    zero = None if vector_unit else int(y.zero_point)
    return Sums(matrix.astype(np.float32), bias.astype(np.int32)[:, None], m, e, zero)


def _refuse_weights(op: Operator, w: QParams, channel_axis: int) -> None:
    """Raise ValueError unless the weights are int8, or int4 with a scale for each channel, and symmetric."""
    if w.dtype not in ("int8", "int4"):
        raise ValueError(f"{op.name}: its weights are {w.dtype}; quantize them to int8 or int4.")
    if np.any(w.zero_point):
        raise ValueError(f"{op.name}: its weights have a zero point; quantize them symmetrically, Z = 0.")
    if w.dtype == "int4" and w.axis is None:
        raise ValueError(f"{op.name}: its weights are int4 with one scale for all; quantize them per channel.")
    if w.axis not in (None, channel_axis):
        raise ValueError(f"{op.name}: its weights have a scale per index of axis {w.axis}; give each channel one.")


def _bias(op: Operator, scale: np.ndarray, exact: bool) -> np.ndarray | int:
    """The bias of each channel's sum, int64: its codes, or what of them reaches the matrix unit (`stored_bias`)."""
    if len(op.inputs) < 3:
        return 0
    x, w, b = op.inputs
    largest, step = np.float32(np.max(b.scale)), np.float32(x.scale)
    if not np.allclose(b.scale, step * scale, rtol=1e-3, atol=0):
        raise ValueError(f"{op.name}: its bias is not at S = S_x·S_w; write the graph with `qdq.quantize_model`.")
    codes = stored(op, 2, "biases")
    if exact:
        return codes.astype(np.int64)
    return htp_rounding.stored_bias(codes, largest, step * scale.max(), w.axis is not None)


def moved(codes: np.ndarray) -> np.ndarray:
    """uint8 codes as −128 … 127, float32."""
    return codes.astype(np.float32) - 128


def product(matrix: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """matrix @ patches as int32, EXACT of the depth at a time: BLAS is fast, and exact below 2²⁴."""
    total = (matrix[:, :EXACT] @ patches[:EXACT]).astype(np.int32)
    for k in range(EXACT, len(patches), EXACT):
        total += (matrix[:, k : k + EXACT] @ patches[k : k + EXACT]).astype(np.int32)
    return total
