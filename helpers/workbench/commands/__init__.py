"""What `python -m helpers` can do: a file a command, found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def registry() -> dict[str, ModuleType]:
    """{command: its module}, with `run(args)`, its docstring the help, and `add_arguments(parser)`.

    >>> [name for name in registry() if name == "quantize"]
    ['quantize']
    """
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
