"""The kernels of an A8W8 or A8W4 graph's operators, on integer codes: prepared from scales once, then run on codes."""

import importlib
import pkgutil

from helpers.integer.kernels.clamp import dropped
from helpers.integer.kernels.operator import (
    CONSTANT,
    FUSES_INTO_CONCAT,
    KERNELS,
    MOVES,
    PASSES,
    TABLED,
    WEIGHTED,
    Compute,
    Operator,
    refuse,
)

for _file in pkgutil.iter_modules(__path__):  # a file's makers enter KERNELS when it is imported
    importlib.import_module(f"{__name__}.{_file.name}")

__all__ = [
    "CONSTANT",
    "FUSES_INTO_CONCAT",
    "KERNELS",
    "MOVES",
    "PASSES",
    "TABLED",
    "WEIGHTED",
    "Compute",
    "Operator",
    "dropped",
    "refuse",
]
