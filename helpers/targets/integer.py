"""The NPU's arithmetic in NumPy: the HTP's codes on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.graph import Model, ModelLike
from helpers.integer import Session, Simulator
from helpers.targets.target import Target


class Integer(Target):
    """`helpers.integer` behind the face of a session; it has no nodes to place."""

    name, label, where = "integer", "as on HTP", "HTP's integers in NumPy"
    order = 1
    dtypes = frozenset({"uint8"})
    npu_codes = True

    def emulated(self) -> bool:
        return True

    def describe(self) -> str:
        return "Hexagon HTP's arithmetic in NumPy: A8W8 and W4A8 graphs, the same codes, on any machine"

    def open(self, model: Model | Path, **options: Any) -> Session:
        """Raises ValueError for options, and as `Simulator` does."""
        if options:
            raise ValueError("target 'integer' takes no options; it computes the graph as the HTP would.")
        return Session(model)

    def simulator(self, model: ModelLike) -> Simulator:
        return Simulator(model)


TARGET = Integer()
