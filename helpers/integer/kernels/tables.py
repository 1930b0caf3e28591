"""Functions of one code: 256 codes, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from helpers.graph import activations
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import COMPUTES, FUSES_INTO_CONCAT, Compute, Operator, kernel, stored

Function = Callable[..., np.ndarray]  # real numbers → real numbers; attributes of the node come by name


def looked_up(op: Operator, function: Function) -> Compute:
    """q' = T[q], T[q] = clamp(round(f((q − Z)·S)·r + Z')), r = 1/S' in float32 (`htp_rounding.function_lut`)."""
    with np.errstate(all="ignore"):  # a pole of f is past every code
        table = htp_rounding.function_lut(function, op.inputs[0], op.outputs[0])
    return lambda x, *_: table[x]


@kernel("SiLU", FUSES_INTO_CONCAT, COMPUTES)
def silu(op: Operator) -> Compute:
    """x·σ(x) as one table of 256 codes: the float function, rounded once."""
    return looked_up(op, lambda x: x * activations.sigmoid(x))


def _hard_sigmoid(x: np.ndarray, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    return np.clip(alpha * x + beta, 0, 1)


def _gelu(x: np.ndarray, approximate: bytes = b"none") -> np.ndarray:
    """x·Φ(x) by erf, also where the graph asks for the tanh form: the HTP knows one."""
    return x / 2 * (1 + np.array([math.erf(v) for v in x / math.sqrt(2)]))


def _elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(x), x)


TABLES: dict[str, Function] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Elu": _elu,
    "Exp": np.exp,
    "Floor": np.floor,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x: x * _hard_sigmoid(x, 1 / 6),
    "LeakyRelu": lambda x, alpha=0.01: np.where(x < 0, alpha * x, x),
    "Log": lambda x: np.log(np.maximum(x, 0)),  # below 0 as at 0: the smallest code
    "Relu": lambda x: np.maximum(x, 0),
    "Round": np.rint,
    "Sigmoid": activations.sigmoid,
    "Sign": np.sign,
    "Sin": np.sin,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Sqrt": lambda x: np.where(x < 0, np.inf, np.sqrt(x)),  # not a number is the largest code
    "Tanh": np.tanh,
}


def _enter(kind: str) -> None:
    """The kernel of operator `kind`: its function of TABLES with the node's attributes, as a table."""

    @kernel(kind, COMPUTES)
    def table(op: Operator) -> Compute:
        return looked_up(op, lambda x: TABLES[kind](x, **op.attr))


for _kind in TABLES:
    _enter(_kind)


@kernel("Clip", COMPUTES)
def clip(op: Operator) -> Compute:
    """min(max(x, low), high) as a table; a bound that is not given is none."""
    low, high = (stored(op, i, "bounds") if i < len(op.stored) else v for i, v in ((1, -np.inf), (2, np.inf)))
    return looked_up(op, lambda x: np.clip(x, low, high))
