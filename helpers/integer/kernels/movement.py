"""Operators that move codes and compute nothing, but for the step to another scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from helpers.affine import QParams
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import (
    COMPUTES,
    FUSES_INTO_CONCAT,
    MOVES,
    PASSES,
    TABLED,
    Compute,
    Operator,
    kernel,
    refuse,
    stored,
    window,
)

_ONE_SCALE = 0.005  # scales that differ by less are one to the HTP at a Concat


@kernel("Concat", FUSES_INTO_CONCAT, COMPUTES)
def concat(op: Operator) -> Compute:
    """Inputs brought to the output's scale, then side by side. What can compute straight at that scale does so."""
    tables = [_to_concat(op, *given) for given in zip(op.inputs, op.kinds, op.edge, op.tiled, strict=True)]
    axis = op.attr["axis"]
    return lambda *xs: np.concatenate([_looked_up(t, x) for t, x in zip(tables, xs, strict=True)], axis)


def _to_concat(op: Operator, x: QParams, kind: str | None, edge: bool, tiled: bool) -> np.ndarray | None:
    """The table from an input's codes to those of the output; None where both have one scale, to within 0.5 %.

    Measured with one zero point: codes stay at S/S' = 0.9951 and 1.0049, and do not at 0.9949 and 1.0051.
    """
    y = op.outputs[0]
    if x == y:
        return None
    if edge or kind is None:
        refuse(op, "an input that a constant or a graph input gives unchanged, at another scale, is not known here")
    if kind in TABLED:
        return htp_rounding.function_lut(lambda value: value, x, y)
    if x.zero_point == y.zero_point and abs(x.scale / y.scale - 1) <= _ONE_SCALE:
        return None
    return htp_rounding.rescale_lut(x, y, first=not tiled)


def _looked_up(table: np.ndarray | None, codes: np.ndarray) -> np.ndarray:
    return codes if table is None else table[codes]


def data_movement(op: Operator, move: Callable[[np.ndarray], list[np.ndarray]]) -> Compute:
    """An operator that only moves codes, and the table to the output's scale behind it, where that differs."""
    x = op.inputs[0]
    tables: list[np.ndarray | None] = []
    for y in op.outputs:
        same = (y.scale, y.zero_point) == (x.scale, x.zero_point)
        if not same and (op.kind not in ("Split", "Slice") or op.kinds[0] not in COMPUTES):
            what = "its output has another scale than its input, known only of Split and Slice behind one that computes"
            refuse(op, what)
        tables.append(None if same else htp_rounding.rescale_lut(x, y, first=not op.tiled[0]))

    def compute(codes: np.ndarray, *_) -> np.ndarray | list[np.ndarray]:
        outs = [_looked_up(t, out) for t, out in zip(tables, move(codes), strict=True)]
        return outs[0] if len(outs) == 1 else outs

    return compute


@kernel("MaxPool", MOVES)
def maxpool(op: Operator) -> Compute:
    """The largest code under the window; the order of codes is the order of numbers. Padding never wins."""
    (sy, sx), (top, left, bottom, right) = window(op, op.attr["kernel_shape"])
    high, wide = op.attr["kernel_shape"]
    if op.attr.get("ceil_mode") or set(op.attr.get("dilations", ())) - {1}:
        refuse(op, "MaxPool with ceil_mode or dilations is not done here, export without them")

    def move(x: np.ndarray) -> list[np.ndarray]:
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        rows, columns = x.shape[2] - high + 1, x.shape[3] - wide + 1
        x = np.maximum.reduce([x[:, :, i : i + rows] for i in range(high)])[:, :, ::sy]
        return [np.maximum.reduce([x[..., j : j + columns] for j in range(wide)])[..., ::sx]]

    return data_movement(op, move)


RESIZE = {  # the one way that is done here, against ONNX's defaults
    "mode": (b"nearest", b"nearest"),
    "coordinate_transformation_mode": (b"half_pixel", b"asymmetric"),
    "nearest_mode": (b"round_prefer_floor", b"floor"),
}


@kernel("Resize", MOVES)
def resize(op: Operator) -> Compute:
    """Nearest neighbour, the floor of the place in the source: y[i] = x[⌊i·n_x/n_y⌋]."""
    asked = {name: op.attr.get(name, default) for name, (default, _) in RESIZE.items()}
    more = set(op.attr) - {*RESIZE, "cubic_coeff_a", "extrapolation_value"}
    if asked != {name: done for name, (_, done) in RESIZE.items()} or any(op.attr[name] for name in more):
        refuse(op, "Resize is done here as nearest, asymmetric, floor alone, export it so")
    scales, sizes = (op.stored[i] if i < len(op.stored) else None for i in (2, 3))
    given = scales if sizes is None else sizes
    if given is None:
        refuse(op, "its scales or sizes are not constants of the graph, which is not known here")

    def move(x: np.ndarray) -> list[np.ndarray]:
        for axis, old in enumerate(x.shape):
            new = int(np.floor(old * given[axis])) if sizes is None else int(given[axis])
            ratio = new / old  # also for scales: the HTP knows the two sizes alone
            if new != old:
                x = x.take(np.minimum(np.arange(new) // ratio, old - 1).astype(int), axis)
        return [x]

    return data_movement(op, move)


@kernel("Split", MOVES)
def split(op: Operator) -> Compute:
    """One tensor cut along an axis: at given sizes, or in equal parts of which the last may be shorter."""
    axis = op.attr.get("axis", 0)
    sizes = stored(op, 1, "sizes") if len(op.stored) > 1 else None

    def move(x: np.ndarray) -> list[np.ndarray]:
        if sizes is not None:
            return np.split(x, np.cumsum(sizes)[:-1], axis)
        part = -(-x.shape[axis] // len(op.outputs))  # ⌈n/parts⌉
        return np.split(x, range(part, x.shape[axis], part), axis)

    return data_movement(op, move)


@kernel("Slice", MOVES)
def slice_(op: Operator) -> Compute:
    """Part of a tensor: starts, ends, axes, steps."""
    limits = [stored(op, i, "limits") for i in range(1, len(op.stored))]
    starts, ends = limits[:2]
    axes = limits[2] if len(limits) > 2 else np.arange(len(starts))
    steps = limits[3] if len(limits) > 3 else np.ones(len(starts), int)

    def move(x: np.ndarray) -> list[np.ndarray]:
        cut = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            to_the_first = step < 0 and end < -x.shape[axis]
            cut[axis] = slice(start, None if to_the_first else end, step)
        return [x[tuple(cut)]]

    return data_movement(op, move)


@kernel("Reshape", MOVES, PASSES)
def reshape(op: Operator) -> Compute:
    """The same codes under another shape; 0 keeps a size, −1 takes what is left."""
    shape = stored(op, 1, "sizes")
    if op.attr.get("allowzero"):
        refuse(op, "allowzero is not done here, export without it")
    return data_movement(op, lambda x: [x.reshape([size or x.shape[i] for i, size in enumerate(shape)])])


@kernel("Transpose", MOVES, PASSES)
def transpose(op: Operator) -> Compute:
    """The same codes in another order of axes; without `perm`, reversed."""
    return data_movement(op, lambda x: [x.transpose(op.attr.get("perm"))])
