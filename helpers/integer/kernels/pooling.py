"""Windows over a picture of one or two dimensions: their largest code, or their mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import numpy as np

from helpers.integer import htp_rounding
from helpers.integer.kernels.movement import data_movement, rescale
from helpers.integer.kernels.operator import COMPUTES, FUSES_INTO_CONCAT, MOVES, Compute, Operator, kernel, refuse


class Along(NamedTuple):
    """A window along one axis: its taps, the way to the next one, the step between taps, the margins, its places."""

    taps: int
    stride: int
    dilation: int
    before: int
    behind: int
    places: int

    def seen(self, x: np.ndarray, axis: int, fill: int) -> list[np.ndarray]:
        """What each tap sees, in all windows, of `x` with a margin of `fill`."""
        last = (self.places - 1) * self.stride + (self.taps - 1) * self.dilation + 1
        widths = [(0, 0)] * x.ndim
        widths[axis] = (self.before, max(last - self.before - x.shape[axis], 0))
        x = np.moveaxis(np.pad(x, widths, constant_values=fill), axis, -1)
        reach = (self.places - 1) * self.stride + 1
        views = [x[..., i * self.dilation : i * self.dilation + reach : self.stride] for i in range(self.taps)]
        return [np.moveaxis(view, -1, axis) for view in views]


def windows(op: Operator) -> list[Along]:
    """The window of a pooling node along each axis: its count is (n + pads − (k − 1)·d − 1)/s + 1, cut or ceiled."""
    size, places = op.attr["kernel_shape"], op.sizes[0][2:]
    ones = [1] * len(size)
    pads = op.attr.get("pads", [0] * 2 * len(size))
    auto = op.attr.get("auto_pad", b"NOTSET")
    result = []
    for i, (n, k) in enumerate(zip(places, size, strict=True)):
        s, d = op.attr.get("strides", ones)[i], op.attr.get("dilations", ones)[i]
        before, behind = (0, 0) if auto == b"VALID" else (pads[i], pads[i + len(size)])
        reach = (k - 1) * d + 1
        if auto.startswith(b"SAME"):
            total = max((-(-n // s) - 1) * s + reach - n, 0)
            before, behind = total // 2, total - total // 2
            if auto == b"SAME_LOWER":
                before, behind = behind, before
        left = n + before + behind - reach
        count = (-(-left // s) if op.attr.get("ceil_mode") else left // s) + 1
        if (count - 1) * s >= n + before:  # a window of the margin alone is none
            count -= 1
        result.append(Along(k, s, d, before, behind, count))
    return result


def _over(x: np.ndarray, along: list[Along], join: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """All taps of a window joined, one axis after the other; the margin is 0."""
    for axis, one in enumerate(along, start=2):
        x = reduce(join, one.seen(x, axis, 0))
    return x


@kernel("MaxPool", MOVES)
def maxpool(op: Operator) -> Compute:
    """The largest code under the window; the order of codes is the order of numbers. The margin never wins."""
    along = windows(op)
    if any(one.dilation > 1 for one in along):
        refuse(op, "the HTP takes no MaxPool with dilations, export without them")
    return data_movement(op, lambda x: [_over(x, along, np.maximum)])


@kernel("GlobalMaxPool", FUSES_INTO_CONCAT, COMPUTES)
def global_maxpool(op: Operator) -> Compute:
    """The largest code of each channel, then brought to the output's scale."""
    table = rescale(op)
    return lambda x: table[x.max(tuple(range(2, x.ndim)), keepdims=True)]


@kernel("AveragePool", FUSES_INTO_CONCAT, COMPUTES)
def average_pool(op: Operator) -> Compute:
    """The mean of the window: q = clamp(⌊Σ(q_x − Z)·m·2⁻ᵏ + ½⌋ + Z'), m = round(S/(n·S')·2ᵏ) in 15 bits.

    n counts the taps, without those in the margin unless `count_include_pad`.
    """
    x, y, along = op.inputs[0], op.outputs[0], windows(op)
    _refuse_half_floats(op, along)
    if x != y and {one.taps for one in along} != {3}:
        refuse(op, "its output has another scale than its input, which is known here of 3×3 alone")
    zero, ratio = int(x.zero_point), float(x.scale) / float(y.scale)

    def compute(codes: np.ndarray) -> np.ndarray:
        inside = np.ones((1, 1, *codes.shape[2:]), np.int32)
        taps = (
            np.prod([one.taps for one in along]) if op.attr.get("count_include_pad") else _over(inside, along, np.add)
        )
        sums = _over(codes.astype(np.int32) - zero, along, np.add)
        return htp_rounding.scale_sum(sums, ratio / taps, int(y.zero_point))

    return compute


def _refuse_half_floats(op: Operator, along: list[Along]) -> None:
    """Raise ValueError for windows that the HTP does not average in integers.

    It does: the whole picture; 2×2 pixels side by side; 3×3 with strides from 2 on; 5×5 and 7×7 side by side.
    """
    margin = any(one.before or one.behind for one in along)
    whole = not margin and all(one.taps == n for one, n in zip(along, op.sizes[0][2:], strict=True))
    taps, strides = {one.taps for one in along}, [one.stride for one in along]
    side_by_side = not margin and taps <= {2, 5, 7} and len(taps) == 1 and set(strides) == taps
    of_three = taps == {3} and min(strides) >= 2 and (not margin or op.attr.get("count_include_pad"))
    if op.attr.get("ceil_mode") or len(along) != 2 or not (whole or side_by_side or of_three):
        refuse(op, "this window, stride and margin are averaged in float16, in an order that is not known here")


@kernel("GlobalAveragePool", FUSES_INTO_CONCAT, COMPUTES)
def global_average_pool(op: Operator) -> Compute:
    """The mean of a channel: q = clamp(⌊Σ(q_x − Z)·m·2⁻ᵏ + ½⌋ + Z'), m = round(S/(n·S')·2ᵏ) in 15 bits."""
    x, y = op.inputs[0], op.outputs[0]
    ratio = float(x.scale) / float(y.scale)

    def compute(codes: np.ndarray) -> np.ndarray:
        axes = tuple(range(2, codes.ndim))
        sums = (codes.astype(np.int64) - int(x.zero_point)).sum(axes, keepdims=True)
        return htp_rounding.scale_sum(sums, ratio * sums.size / codes.size, int(y.zero_point))

    return compute
