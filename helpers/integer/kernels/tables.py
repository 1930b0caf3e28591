"""Functions of one code: 256 codes, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from helpers.graph import activations
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import (
    COMPUTES,
    FUSES_INTO_CONCAT,
    TABLED,
    Compute,
    Operator,
    kernel,
)

Function = Callable[..., np.ndarray]  # real numbers → real numbers; attributes of the node come by name


def looked_up(op: Operator, function: Function) -> Compute:
    """q' = T[q], T[q] = clamp(round(f((q − Z)·S)·r + Z')), r = 1/S' in float32 (`htp_rounding.function_lut`)."""
    with np.errstate(all="ignore"):  # a pole of f is past every code
        table = htp_rounding.function_lut(function, op.inputs[0], op.outputs[0])
    return lambda x, *_: table[x]


@kernel("SiLU", FUSES_INTO_CONCAT, COMPUTES, TABLED)
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
_RECODED = ("LeakyRelu", "Sign")  # a Concat or Split behind them brings them to another scale in integers


def _enter(kind: str) -> None:
    """The kernel of operator `kind`: its function of TABLES with the node's attributes, as a table."""

    @kernel(kind, FUSES_INTO_CONCAT, *(() if kind in _RECODED else (COMPUTES, TABLED)))
    def table(op: Operator) -> Compute:
        return looked_up(op, lambda x: TABLES[kind](x, **op.attr))


for _kind in TABLES:
    _enter(_kind)


def bounds(op: Operator) -> tuple[float, float]:
    """Low and high of a Clip; −∞ or ∞ where the graph gives none."""
    low, high = [float(v) if v is not None else None for v in op.stored[1:]] + [None] * (3 - len(op.stored))
    return -math.inf if low is None else low, math.inf if high is None else high


@kernel("Neg", FUSES_INTO_CONCAT)
def neg(op: Operator) -> Compute:
    """−x, a step to another scale by a negative multiplier: rounded twice, as of a tensor that lies flat."""
    x, y = op.inputs[0], op.outputs[0]
    table = htp_rounding.rescale_lut(x, y, first=True, sign=-1)
    return lambda codes: table[codes]


@kernel("Clip", FUSES_INTO_CONCAT, COMPUTES, TABLED)
def clip(op: Operator) -> Compute:
    """min(max(x, low), high) as a table."""
    return looked_up(op, lambda x: np.clip(x, *bounds(op)))
