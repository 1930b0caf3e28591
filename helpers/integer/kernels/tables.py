"""Functions of one code: 256 codes, computed once."""

from __future__ import annotations

from helpers.graph import activations
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import COMPUTES, FUSES_INTO_CONCAT, Compute, Operator, kernel


@kernel("SiLU", FUSES_INTO_CONCAT, COMPUTES)
def silu(op: Operator) -> Compute:
    """x·σ(x) as one table of 256 codes: the float function, rounded once."""
    table = htp_rounding.function_lut(lambda x: x * activations.sigmoid(x), op.inputs[0], op.outputs[0])
    return lambda x: table[x]


@kernel("Sigmoid", COMPUTES)
def sigmoid(op: Operator) -> Compute:
    """σ(x) as a table of 256 codes."""
    table = htp_rounding.function_lut(activations.sigmoid, op.inputs[0], op.outputs[0])
    return lambda x: table[x]
