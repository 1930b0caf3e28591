"""Functions of one code that the HTP computes by way of other operators: a division, or numbers in float16."""

from __future__ import annotations

import numpy as np

from helpers.affine import QParams
from helpers.integer import htp_rounding
from helpers.integer.kernels.operator import Compute, Operator, kernel, refuse


@kernel("Reciprocal")
def reciprocal(op: Operator) -> Compute:
    """1/x as a division of two codes of one scale: q' = clamp(round(n/(q − Z)·r + Z')), n = clamp(round(1/S) + Z) − Z.

    The 1 has no code of its own: of a coarse scale, or of one that ends below 1, the HTP's results are wrong by far.
    """
    _refuse_concat(op)
    x, y = op.inputs[0], op.outputs[0]
    one = np.clip(np.rint(1 / float(x.scale)) + x.zero_point, 0, 255) - x.zero_point
    steps = QParams(1.0, x.zero_point, "uint8")

    def divided(difference: np.ndarray) -> np.ndarray:
        quotient = np.float32(one) / difference.astype(np.float32)
        return np.where(difference == 0, np.inf, quotient)  # the largest code

    with np.errstate(divide="ignore", invalid="ignore"):
        table = htp_rounding.function_lut(divided, steps, y)
    return lambda codes: table[codes]


@kernel("ThresholdedRelu")
def thresholded_relu(op: Operator) -> Compute:
    """x where x > α, else 0, in float16: x = float16((q − Z)·float16(S)), coded as a graph input is."""
    _refuse_concat(op)
    x, alpha = op.inputs[0], np.float16(op.attr.get("alpha", 1.0))
    scale = np.float64(np.float16(float(x.scale)))
    real = ((np.arange(256) - int(x.zero_point)) * scale).astype(np.float16)
    table = htp_rounding.quantize_input(np.where(real > alpha, real, np.float16(0)), op.outputs[0])
    return lambda codes: table[codes]


def _refuse_concat(op: Operator) -> None:
    if "Concat" in op.readers:
        refuse(op, "in front of a Concat its rounding is not known here")
