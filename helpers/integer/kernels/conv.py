"""Convolution: exact int32 sums by float32 matrix products, then the HTP's rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.affine import QParams
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import (
    COMPUTES,
    FUSES_INTO_CONCAT,
    WEIGHTED,
    Compute,
    Operator,
    kernel,
    refuse,
    stored,
    window,
)

BLOCK = 1 << 19  # values of a convolution's patch matrix at a time: 2 MiB, which stays in cache
EXACT = 1 << 10  # so many products of 8-bit codes, each at most 2¹⁴, sum exactly in float32


@kernel("Conv", FUSES_INTO_CONCAT, COMPUTES, WEIGHTED)
def conv(op: Operator) -> Compute:
    """Convolution: q = requantize(Σ (q_x − Z_x)·q_w + bias), int32 sums, one multiplier S_x·S_w/S_y per output channel.

    Patches times weights is one float32 matrix product per 1024 of depth: BLAS is fast, and exact below 2²⁴.
    """
    if len(op.inputs) != len(op.stored):
        refuse(op, "its weights or its bias are not quantized")
    x, w, y = op.inputs[0], op.inputs[1], op.outputs[0]
    weight, groups = stored(op, 1, "weights").astype(np.int32), op.attr.get("group", 1)
    strides, pads = window(op, weight.shape[2:])
    _refuse_strided_depthwise(op, weight, groups, strides)
    _refuse_weights(op, w)
    scale = np.broadcast_to(np.asarray(w.scale, np.float32), len(weight))
    multiplier = np.float32(x.scale) * scale.max() / np.float32(y.scale) * (scale / scale.max())  # in this order
    m, e = (v.astype(np.int32)[:, None] for v in htp_rounding.fixed_point(multiplier, 12))
    one = _Convolution(
        matrix=weight.transpose(0, 2, 3, 1).reshape(len(weight), -1).astype(np.float32),
        bias=_bias(op, weight, scale),
        m=m,
        e=e,
        zeros=(int(x.zero_point), int(y.zero_point)),
        taps=weight.shape[2:],
        groups=groups,
        strides=strides,
        dilations=op.attr.get("dilations", (1, 1)),
        pads=pads,
    )
    return lambda codes, *_: np.stack([one(image) for image in codes])


def _refuse_weights(op: Operator, w: QParams) -> None:
    """Raise ValueError unless the weights are int8, or int4 with a scale for each channel, and symmetric."""
    if w.dtype not in ("int8", "int4"):
        raise ValueError(f"{op.name}: its weights are {w.dtype}; quantize them to int8 or int4.")
    if np.any(w.zero_point):
        raise ValueError(f"{op.name}: its weights have a zero point; quantize them symmetrically, Z = 0.")
    if w.dtype == "int4" and w.axis is None:
        raise ValueError(f"{op.name}: its weights are int4 with one scale for all; quantize them per channel.")


def _refuse_strided_depthwise(op: Operator, weight: np.ndarray, groups: int, strides: tuple[int, int]) -> None:
    channels, depth, high, wide = weight.shape
    if depth == 1 and groups == channels > 1 and min(strides) > 1 and max(high, wide) > 2:
        sy, sx = strides
        refuse(op, f"a depthwise Conv {high}×{wide} with strides {sy}, {sx} rounds in a way not known here")


def _bias(op: Operator, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What each channel's sum begins with, (channels, 1) int32, for inputs that are moved to −128 … 127.

    Σ (q_x − Z)·q_w = Σ (q_x − 128)·q_w + (128 − Z)·Σ q_w: the products stay small.
    """
    x, w = op.inputs[:2]
    bias = (128 - int(x.zero_point)) * weight.sum((1, 2, 3))
    if len(op.inputs) > 2:
        largest, step = np.float32(np.max(op.inputs[2].scale)), np.float32(x.scale)
        if not np.allclose(op.inputs[2].scale, step * scale, rtol=1e-3, atol=0):
            raise ValueError(f"{op.name}: its bias is not at S = S_x·S_w; write the graph with `qdq.quantize_model`.")
        per_channel = w.axis is not None
        bias = bias + htp_rounding.stored_bias(stored(op, 2, "biases"), largest, step * scale.max(), per_channel)
    return bias.astype(np.int32)[:, None]


@dataclass(frozen=True)
class _Convolution:
    """One image's convolution. `matrix` is (channels, taps·depth), taps outside and channels inside."""

    matrix: np.ndarray
    bias: np.ndarray
    m: np.ndarray
    e: np.ndarray
    zeros: tuple[int, int]  # of the input and of the output
    taps: tuple[int, ...]
    groups: int
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Codes (channels, rows, columns) of codes (depth, height, width), in strips of rows that fit the cache."""
        top, left, bottom, right = self.pads
        padding = ((0, 0), (top, bottom), (left, right))
        padded = np.pad(image, padding, constant_values=self.zeros[0]).astype(np.float32) - 128
        channels, length = self.matrix.shape
        rows, columns = self._size(padded)
        out = np.empty((channels, rows, columns), np.uint8)
        strip = max(1, min(rows, BLOCK // (length * columns)))
        for group, source in enumerate(np.split(padded, self.groups)):
            mine = slice(group * channels // self.groups, (group + 1) * channels // self.groups)
            for first in range(0, rows, strip):
                count = min(strip, rows - first)
                sums = _product(self.matrix[mine], self._patches(source, first, count, columns))
                sums += self.bias[mine]
                codes = htp_rounding.htp_requantize(sums, self.m[mine], self.e[mine], self.zeros[1])
                out[mine, first : first + count] = codes.reshape(-1, count, columns)
        return out

    def _size(self, padded: np.ndarray) -> tuple[int, int]:
        """Rows and columns of the output: ⌊(n − (k − 1)·d − 1)/s⌋ + 1."""
        rows, columns = (
            (n - (k - 1) * d - 1) // s + 1
            for n, k, d, s in zip(padded.shape[1:], self.taps, self.dilations, self.strides, strict=True)
        )
        return rows, columns

    def _patches(self, source: np.ndarray, first: int, count: int, columns: int) -> np.ndarray:
        """What the window sees at `count` rows of the output from `first` on: (taps·depth, count·columns)."""
        (high, wide), (sy, sx), (dy, dx) = self.taps, self.strides, self.dilations
        seen = [
            source[:, i : i + (count - 1) * sy + 1 : sy, j : j + (columns - 1) * sx + 1 : sx]
            for i in range(first * sy, first * sy + high * dy, dy)
            for j in range(0, wide * dx, dx)
        ]
        return np.stack(seen).reshape(-1, count * columns)


def _product(matrix: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """matrix @ patches as int32, EXACT of the depth at a time."""
    total = (matrix[:, :EXACT] @ patches[:EXACT]).astype(np.int32)
    for k in range(EXACT, len(patches), EXACT):
        total += (matrix[:, k : k + EXACT] @ patches[k : k + EXACT]).astype(np.int32)
    return total
