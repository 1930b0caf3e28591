"""Operators that move codes and compute nothing, but for the step to another scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from helpers.affine import QParams, dequantize, quantize
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import (
    COMPUTES,
    FUSES_INTO_CONCAT,
    MOVES,
    TABLED,
    Compute,
    Operator,
    kernel,
    refuse,
    stored,
)

_ONE_SCALE = 0.005  # scales that differ by less are one to the HTP at a Concat

_UNKNOWN_AT_CONCAT = {"DepthToSpace", "SpaceToDepth", "Tile", "Gather", "Expand", "Pad"}


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
    if kind in _UNKNOWN_AT_CONCAT:
        refuse(op, f"an input that a {kind} makes at another scale is not known here, give both one scale")
    if edge or kind is None:
        refuse(op, "an input that a constant or a graph input gives unchanged, at another scale, is not known here")
    if kind in TABLED:
        return htp_rounding.function_lut(lambda value: value, x, y)
    if x.zero_point == y.zero_point and abs(x.scale / y.scale - 1) <= _ONE_SCALE:
        return None
    return htp_rounding.rescale_lut(x, y, first=not tiled)


def _looked_up(table: np.ndarray | None, codes: np.ndarray) -> np.ndarray:
    return codes if table is None else table[codes]


def rescale(op: Operator) -> np.ndarray:
    """The table from the input's codes to the output's scale; straight behind a graph input it rounds twice."""
    return htp_rounding.rescale_lut(op.inputs[0], op.outputs[0], first=op.edge[0])


def data_movement(op: Operator, move: Callable[[np.ndarray], list[np.ndarray]]) -> Compute:
    """An operator that only moves codes, and the table to the output's scale behind it, where that differs."""
    tables = [_to_own_scale(op, y) for y in op.outputs]

    def compute(codes: np.ndarray, *_) -> np.ndarray | list[np.ndarray]:
        outs = [_looked_up(t, out) for t, out in zip(tables, move(codes), strict=True)]
        return outs[0] if len(outs) == 1 else outs

    return compute


# Operators that the HTP runs in float16 where their output has a scale of its own, and those it runs on integers.
_IN_HALF_FLOATS = {"MaxPool", "Resize"}
_IN_INTEGERS = {"Split", "Slice", "Transpose"}


def _to_own_scale(op: Operator, y: QParams) -> np.ndarray | None:
    """The table from an input's codes to those of output `y`, None where both have one scale."""
    x = op.inputs[0]
    if (y.scale, y.zero_point) == (x.scale, x.zero_point):
        return None
    if op.kind in _IN_HALF_FLOATS:
        return htp_rounding.half_float_lut(x, y)
    if op.kind in _IN_INTEGERS and (op.edge[0] or op.kinds[0] in COMPUTES):
        return htp_rounding.rescale_lut(x, y, first=not op.tiled[0])
    refuse(op, "its output has another scale than its input, whose rounding is not known here, give both one scale")


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


@kernel("Gather", MOVES)
def gather(op: Operator) -> Compute:
    """Chosen places along an axis: y = x[…, indices, …]; negative ones count from the end."""
    indices, axis = stored(op, 1, "indices"), op.attr.get("axis", 0)
    return data_movement(op, lambda x: [np.take(x, indices, axis)])


_PAD_MODES = ("constant", "reflect", "edge")


@kernel("Pad", MOVES)
def pad(op: Operator) -> Compute:
    """A margin around a tensor: real 0, which is the code Z, or another constant; the edge; the mirrored inside."""
    mode = op.attr.get("mode", b"constant").decode()
    if mode not in _PAD_MODES:
        refuse(op, f"mode {mode} is not known here, only {', '.join(_PAD_MODES)}")
    amounts = stored(op, 1, "amounts").astype(int)
    if np.any(amounts < 0):
        refuse(op, "negative amounts are not done here, write a Slice")
    return data_movement(op, lambda x: [_padded(op, x, amounts, mode)])


def _padded(op: Operator, x: np.ndarray, amounts: np.ndarray, mode: str) -> np.ndarray:
    """`x` with a margin of `amounts`, first all in front and then all behind, along the axes that the node names."""
    axes = op.stored[3] if len(op.stored) > 3 and op.stored[3] is not None else np.arange(x.ndim)
    widths = np.zeros((x.ndim, 2), int)
    widths[axes] = amounts.reshape(2, -1).T
    if mode == "constant":
        return np.pad(x, widths, constant_values=_pad_code(op))
    return np.pad(x, widths, mode="edge" if mode == "edge" else "reflect")


def _pad_code(op: Operator) -> int:
    """The code of the constant in the margin."""
    value = op.stored[2] if len(op.stored) > 2 else None
    if value is None or not value.size:
        return int(op.inputs[0].zero_point)
    if len(op.inputs) > 1:  # stored as a code, at a scale of its own
        return int(quantize(dequantize(value, op.inputs[1]), op.inputs[0]).item())
    return int(quantize(value.astype(np.float32), op.inputs[0]).item())
