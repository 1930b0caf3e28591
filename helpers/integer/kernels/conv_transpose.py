"""Transposed convolution: a convolution of the picture with zeros between its pixels."""

from __future__ import annotations

import numpy as np

from helpers.integer.kernels.conv import Convolution
from helpers.integer.kernels.operator import (
    COMPUTES,
    FUSES_INTO_CONCAT,
    WEIGHTED,
    Compute,
    Operator,
    kernel,
    refuse,
    stored,
)
from helpers.integer.kernels.sums import prepare


@kernel("ConvTranspose", FUSES_INTO_CONCAT, COMPUTES, WEIGHTED)
def conv_transpose(op: Operator) -> Compute:
    """y[i·s + k − p] += x[i]·w[k], as a convolution: Z_x fills s − 1 places between pixels, taps are read backwards.

    Rounded as a convolution: q = requantize(Σ (q_x − Z_x)·q_w + bias).
    """
    weight, groups = stored(op, 1, "weights"), op.attr.get("group", 1)  # (depth, channels / groups, rows, columns)
    if weight.ndim != 4 or op.attr.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in op.attr:
        refuse(op, "only a window of 2 dimensions is known here, with its numbers written as pads")
    if groups == len(weight) > 1 and any(op.attr.get("output_padding", ())):
        refuse(op, "one channel a group with output_padding goes wrong on the HTP itself")
    if groups > 1 and op.inputs[1].axis is not None:
        refuse(op, "several groups with a scale per channel are not known here, give its weights one scale")
    (top, left, bottom, right), (sy, sx) = op.attr.get("pads", (0,) * 4), op.attr.get("strides", (1, 1))
    (dy, dx), (more_y, more_x) = op.attr.get("dilations", (1, 1)), op.attr.get("output_padding", (0, 0))
    depth, channels, high, wide = weight.shape
    backwards = weight.reshape(groups, depth // groups, channels, high, wide)[..., ::-1, ::-1]
    reach_y, reach_x = (high - 1) * dy, (wide - 1) * dx
    one = Convolution(
        sums=prepare(op, backwards.transpose(0, 2, 3, 4, 1).reshape(groups * channels, -1), channel_axis=1),
        zero=int(op.inputs[0].zero_point),
        taps=(high, wide),
        groups=groups,
        strides=(1, 1),
        dilations=(dy, dx),
        pads=(reach_y - top, reach_x - left, reach_y - bottom + more_y, reach_x - right + more_x),
    )
    return lambda codes, *_: np.stack([one(_spread(image, sy, sx, one.zero)) for image in codes])


def _spread(image: np.ndarray, sy: int, sx: int, zero: int) -> np.ndarray:
    """(depth, rows, columns) with sy − 1 rows and sx − 1 columns of `zero` between those of the picture."""
    depth, rows, columns = image.shape
    out = np.full((depth, (rows - 1) * sy + 1, (columns - 1) * sx + 1), zero, np.uint8)
    out[:, ::sy, ::sx] = image
    return out
