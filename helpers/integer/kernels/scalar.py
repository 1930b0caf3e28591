"""Arithmetic with a constant of one element: a function of one code, or a step to another scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from helpers.affine import dequantize
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import (
    COMPUTES,
    CONSTANT,
    FUSES_INTO_CONCAT,
    TABLED,
    Compute,
    Operator,
    kernel,
    refuse,
    stored,
)
from helpers.integer.kernels.tables import looked_up

_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Max": np.maximum,
    "Min": np.minimum,
    "Pow": np.power,
    "Sub": np.subtract,
}
_SCALES = [CONSTANT + "Mul", CONSTANT + "Div"]


def _constant(op: Operator) -> tuple[int, float]:
    """Which of the two inputs is the constant, and its value."""
    index = next(i for i, shape in enumerate(op.shapes) if shape is not None)
    return index, float(dequantize(stored(op, index, "values").ravel(), op.inputs[index])[0])


def _enter(kind: str) -> None:
    @kernel(CONSTANT + kind, FUSES_INTO_CONCAT, COMPUTES, TABLED)
    def table(op: Operator) -> Compute:
        index, value = _constant(op)
        if kind == "Pow" and (index == 0 or value != 2):
            refuse(op, "a power is known here with the exponent 2 alone")
        function = _FUNCTIONS[kind]
        return _of_the_tensor(op, (lambda x: function(x, value)) if index else (lambda x: function(value, x)))


for _kind in _FUNCTIONS:
    _enter(_kind)


def _of_the_tensor(op: Operator, function: Callable[[np.ndarray], np.ndarray]) -> Compute:
    """The table of a function of the input that is no constant."""
    index = 1 - _constant(op)[0]
    compute = looked_up(replace(op, inputs=[op.inputs[index]]), function)
    return lambda *codes: compute(codes[index])


@kernel(_SCALES[0], FUSES_INTO_CONCAT, COMPUTES)
def mul(op: Operator) -> Compute:
    """x·c for c > 0: the codes of a tensor of scale S·c, brought to S' (`htp_rounding.rescale_lut`); else a table."""
    return _scaled(op, _constant(op)[1])


@kernel(_SCALES[1], FUSES_INTO_CONCAT, COMPUTES)
def div(op: Operator) -> Compute:
    """x/c for c > 0: the codes of a tensor of scale S/c, brought to S'; else a table."""
    index, value = _constant(op)
    if index == 0 or value == 0:
        refuse(op, "a constant divided by a tensor, or a tensor by 0, is not known here")
    return _scaled(op, 1 / value)


def _scaled(op: Operator, factor: float) -> Compute:
    """c·x; next to a table, before or behind it, the HTP makes this a table too, in float32."""
    constant, value = _constant(op)
    index = 1 - constant
    x, tables = op.inputs[index], [kind in TABLED for kind in [op.kinds[index], *op.readers]]
    function = (lambda v: v / value) if op.kind == _SCALES[1] else (lambda v: v * value)
    if factor <= 0 or any(tables):
        if factor > 0 and not tables[0] and not all(tables[1:]):
            refuse(op, "its output goes both into a function of one code and elsewhere, which is not known here")
        return _of_the_tensor(op, function)
    if op.kinds[index] in _SCALES:
        refuse(op, "behind another factor or divisor of one element it is not known here")
    source = replace(x, scale=np.float64(x.scale) * factor)
    table = htp_rounding.rescale_lut(source, op.outputs[0], first=not op.tiled[index])
    return lambda *codes: table[codes[index]]
