"""Values in few characters: what a counterexample and a table print."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MOST = 8  # elements that are printed in full


def show_value(value: Any) -> str:
    """A value in few characters: four significant digits, large arrays by shape and ends.

    >>> show_value(np.float32(1 / 3)), show_value(np.arange(3)), show_value(np.zeros((20, 2)))
    ('0.3333', '[0, 1, 2]', 'array of 20×2 from 0 to 0')
    >>> show_value(("x",))
    "('x',)"
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {show_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (bool, np.bool_, str)) or value is None:
        return repr(bool(value)) if isinstance(value, np.bool_) else repr(value)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    if isinstance(value, tuple):
        return "(" + ", ".join(show_value(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list) and len(value) <= _MOST:
        return "[" + ", ".join(show_value(v) for v in value) + "]"
    if isinstance(value, (np.ndarray, list)):
        return _show_array(np.asarray(value))
    return repr(value)


def _show_array(array: np.ndarray) -> str:
    if array.ndim == 0:
        return show_value(array.item())
    if array.size <= _MOST:
        return show_value(array.tolist())
    shape = "×".join(map(str, array.shape))
    if array.dtype.kind not in "biuf":
        return f"array of {shape}"
    return f"array of {shape} from {np.nanmin(array):.4g} to {np.nanmax(array):.4g}"


def show_case(case: Mapping[str, Any]) -> str:
    """The arguments of a call: `x = [0.5], scale = 1`.

    >>> show_case({"x": np.array([0.5]), "scale": 1.0})
    'x = [0.5], scale = 1'
    """
    return ", ".join(f"{name} = {show_value(value)}" for name, value in case.items())


class Table:
    """Rows under a head, as a table in a notebook and as aligned columns in text."""

    def __init__(self, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.head = [str(name) for name in head]
        self.rows = [[value if isinstance(value, str) else show_value(value) for value in row] for row in rows]

    def __repr__(self) -> str:
        lines = [self.head, *self.rows] if any(self.head) else self.rows
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.head))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        cells = "".join(f"<th style='text-align: left'>{html.escape(name)}</th>" for name in self.head)
        head = f"<tr>{cells}</tr>" if any(self.head) else ""
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align: left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table>{head}{body}</table>"


def show(data: Mapping[str, Any] | Sequence[Mapping[str, Any]], *head: str) -> Table:
    """A table of results, numbers with four significant digits; `head` names its columns.

    `data` is {row: value}, {row: (value, …)}, {row: {column: value}}, or a list of {column: value}.

    >>> show({"minmax": 21.84321, "entropy": 20.5}, "method", "SQNR, dB")
    method   SQNR, dB
    minmax   21.84
    entropy  20.5
    >>> show([{"code": 3, "back": 0.25}])
    code  back
    3     0.25
    """
    if not isinstance(data, Mapping):
        columns = list(data[0]) if data else []
        return Table(head or columns, [[row[c] for c in columns] for row in data])
    values = list(data.values())
    if values and isinstance(values[0], Mapping):
        columns = list(values[0])
        return Table(head or ["", *columns], [[key, *(v[c] for c in columns)] for key, v in data.items()])
    rows = [[key, *(value if isinstance(value, tuple) else (value,))] for key, value in data.items()]
    return Table(head or [""] * max(map(len, rows), default=0), rows)
