"""What the maker of a kernel is given, how it enters the registry, and how it refuses what is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from helpers.affine import QParams

Compute = Callable[..., np.ndarray | list[np.ndarray]]  # codes of the inputs → codes of the output, or of each


@dataclass(frozen=True)
class Operator:
    """One operator of the float graph, and the scales around it.

    `name` is what messages call it, `attr` its node's attributes. `stored` has an array for each constant input of the
    node (codes, or indices) and None for others, `sizes` the shape of each input. `inputs` and `outputs` are QParams
    of what has a scale; of each such input `shapes` is the shape if it is constant, else None, `kinds` the operator
    that makes it, None if none does, and `edge` whether a graph input comes through it unchanged. A kernel is called
    with the codes of `inputs` and, in the node's order between them, with the indices and truth values that the graph
    computes or is given.
    """

    kind: str
    name: str
    attr: dict[str, Any]
    stored: list[np.ndarray | None]
    sizes: list[tuple[int, ...]]
    shapes: list[tuple[int, ...] | None]
    inputs: list[QParams]
    outputs: list[QParams]
    kinds: list[str | None]
    edge: list[bool]
    tiled: list[bool] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)


CONSTANT = "constant "  # "constant Add" is an Add of which an input is a constant of one element
Maker = Callable[[Operator], Compute]
KERNELS: dict[str, Maker] = {}  # {operator: its maker}; "SiLU" is x·σ(x), Sigmoid and Mul together
# What is known of an operator beyond its kernel; each set holds operators' names.
FUSES_INTO_CONCAT: set[str] = set()  # computes straight at the scale of a Concat behind it
COMPUTES: set[str] = set()  # a Split or Slice behind it may have a scale of its own
MOVES: set[str] = set()  # gives the codes of its input unchanged
WEIGHTED: set[str] = set()  # its kernel checks the types of what it stores; others store uint8 alone
PASSES: set[str] = set()  # moves codes, and lets what makes them compute at the scale of a Concat
TABLED: set[str] = set()  # a function of one code, brought to another scale in float32 too


def kernel(kind: str, *known: set[str]) -> Callable[[Maker], Maker]:
    """Enter the decorated maker in KERNELS as that of operator `kind`, and the operator in the sets `known`.

    >>> from helpers.integer import kernels
    >>> kernels.KERNELS["Reshape"].__name__, "Reshape" in MOVES
    ('reshape', True)
    """

    def enter(maker: Maker) -> Maker:
        KERNELS[kind] = maker
        for operators in known:
            operators.add(kind)
        return maker

    return enter


def refuse(op: Operator, what: str) -> NoReturn:
    """Raise ValueError: this node, what is not known of it on the HTP, and the ways out."""
    raise ValueError(f"{op.name}: {what}; use target 'cpu' or 'htp', or change that node.")


def stored(op: Operator, index: int, what: str) -> np.ndarray:
    """A constant input of the node; raises ValueError where the graph computes it."""
    value = op.stored[index]
    if value is None:
        refuse(op, f"its {what} are not constants of the graph, which is not known here")
    return value


def window(op: Operator, size: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Strides (y, x) and pads (top, left, bottom, right) of a window; ValueError unless it has two dimensions."""
    if len(size) != 2:
        refuse(op, f"a window of {len(size)} dimension(s) is not known here, only one of 2")
    strides, auto = op.attr.get("strides", (1, 1)), op.attr.get("auto_pad", b"NOTSET")
    if auto == b"NOTSET":
        return strides, op.attr.get("pads", (0, 0, 0, 0))
    if auto == b"VALID":
        return strides, (0, 0, 0, 0)
    return strides, _same_pads(op, size, strides, first_is_smaller=auto == b"SAME_UPPER")


def _same_pads(
    op: Operator, size: tuple[int, ...], strides: tuple[int, int], first_is_smaller: bool
) -> tuple[int, int, int, int]:
    """Pads for which the output has ⌈n/s⌉ places: max((⌈n/s⌉ − 1)·s + (k − 1)·d + 1 − n, 0) in all, halved."""
    before, behind = [], []
    for n, k, s, d in zip(op.sizes[0][2:], size, strides, op.attr.get("dilations", (1, 1)), strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        small, large = total // 2, total - total // 2
        before.append(small if first_is_smaller else large)
        behind.append(large if first_is_smaller else small)
    return before[0], before[1], behind[0], behind[1]
