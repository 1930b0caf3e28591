"""Convolution: patches of the picture times the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

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
from helpers.integer.kernels.sums import Sums, moved, prepare

BLOCK = 1 << 19  # values of a convolution's patch matrix at a time: 2 MiB, which stays in cache


@kernel("Conv", FUSES_INTO_CONCAT, COMPUTES, WEIGHTED)
def conv(op: Operator) -> Compute:
    """Convolution: q = requantize(Σ (q_x − Z_x)·q_w + bias), int32 sums, one multiplier S_x·S_w/S_y per output channel.

    Depthwise with stride 2: q = ⌊(Σ (q_x − Z_x)·q_w + bias + round(Z_y/M))·M + ½⌋, M of 15 bits. One of a single
    dimension is one of pictures that are one row high.
    """
    weight, groups = stored(op, 1, "weights"), op.attr.get("group", 1)
    flat = weight.ndim == 3
    if flat:
        op, weight = _one_row(op), weight[:, :, None]
    strides, pads = window(op, weight.shape[2:])
    on_vector_unit, dilations = _on_vector_unit(weight, groups, strides), op.attr.get("dilations", (1, 1))
    if max(strides) > 1 and max(dilations) > 1 and max(weight.shape[2:]) > 1 and not on_vector_unit:
        refuse(op, "strides and dilations together round in a way not known here")
    rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    one = Convolution(
        sums=prepare(op, rows, vector_unit=on_vector_unit),
        zero=int(op.inputs[0].zero_point),
        taps=weight.shape[2:],
        groups=groups,
        strides=strides,
        dilations=dilations,
        pads=pads,
    )
    if flat:
        return lambda codes, *_: np.stack([one(image[:, None])[:, 0] for image in codes])
    return lambda codes, *_: np.stack([one(image) for image in codes])


def _one_row(op: Operator) -> Operator:
    """A one-dimensional window's attributes, as those of a window one row high."""
    attr = dict(op.attr)
    for name in {"strides", "dilations", "kernel_shape"} & set(attr):
        attr[name] = (1, *attr[name])
    if "pads" in attr:
        left, right = attr["pads"]
        attr["pads"] = (0, left, 0, right)
    return replace(op, attr=attr)


def _on_vector_unit(weight: np.ndarray, groups: int, strides: tuple[int, int]) -> bool:
    """Whether the HTP's vector unit computes it: depthwise, strides 2, 2, the window's longer side 3 to 7."""
    channels, depth, high, wide = weight.shape
    return depth == 1 and groups == channels > 1 and tuple(strides) == (2, 2) and 2 < max(high, wide) < 8


@dataclass(frozen=True)
class Convolution:
    """One image's convolution. The matrix of `sums` is (channels, taps·depth), taps outside and channels inside."""

    sums: Sums
    zero: int  # of the input
    taps: tuple[int, ...]
    groups: int
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Codes (channels, rows, columns) of codes (depth, height, width), in strips of rows that fit the cache."""
        top, left, bottom, right = self.pads
        padding = ((0, 0), (top, bottom), (left, right))
        padded = moved(np.pad(image, padding, constant_values=self.zero))
        channels, length = self.sums.matrix.shape
        rows, columns = self._size(padded)
        out = np.empty((channels, rows, columns), np.uint8)
        strip = max(1, min(rows, BLOCK // (length * columns)))
        for group, source in enumerate(np.split(padded, self.groups)):
            mine = slice(group * channels // self.groups, (group + 1) * channels // self.groups)
            for first in range(0, rows, strip):
                count = min(strip, rows - first)
                codes = self.sums.codes(self._patches(source, first, count, columns), mine)
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
