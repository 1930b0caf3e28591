"""Which inputs of a folder a command takes."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from helpers import qdq, tasks
from helpers.graph import Model


def add_shape(command: argparse.ArgumentParser) -> None:
    """The option that gives a dynamic input its size."""
    text = "size of an input that is dynamic, such as images=1x3x640x640; once for each such input"
    command.add_argument("--shape", action="append", default=[], metavar="INPUT=SIZES", help=text)


def prepared(path: Path, shapes: Sequence[str]) -> Model:
    """The model made ready by `qdq.prepare`, each change told on stderr; raises as that and `parse_shape` do."""
    made = qdq.prepare(path, dict(map(qdq.parse_shape, shapes)))
    for change in made.changes:
        print(f"note: {path.name}: {change}", file=sys.stderr)
    return made.model


def listed(task: tasks.Task, source: str) -> list[Path]:
    """The inputs of a folder, or of a name that `assets` knows; what is passed over is told on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = task.inputs(source)
    for warning in caught:
        print(f"note: {warning.message}", file=sys.stderr)
    return found


def pick(found: list[Path], limit: int | None, seen: Collection[str] = frozenset()) -> list[Path]:
    """`limit` inputs of a folder (None: all), one at random from each of `limit` equal stretches of its order.

    The seed is fixed, so the same folder gives the same inputs. Those whose name is in `seen` come in only where
    the others are too few.

    >>> from helpers import assets
    >>> len(pick(assets.images("calibration"), 3)), pick([Path("b"), Path("a")], None)[0].name
    (3, 'b')
    """
    if limit is None or limit >= len(found):
        return found
    fresh = [p for p in found if p.name not in seen]
    if len(fresh) < limit:
        rest = [p for p in found if p.name in seen]
        return sorted(fresh + _spread(rest, limit - len(fresh)))
    return _spread(fresh, limit)


def _spread(found: list[Path], count: int) -> list[Path]:
    """One at random from each of `count` equal stretches."""
    rng = np.random.default_rng(0)
    ends = np.arange(count + 1) * len(found) // count
    return [found[rng.integers(a, b)] for a, b in pairwise(ends)]


def made_by_quantize(folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """fp32.onnx and int8.onnx of a folder, and what ranges.json tells of them; FileNotFoundError that says how to make
    them."""
    fp32, int8, record = (folder / name for name in ("fp32.onnx", "int8.onnx", "ranges.json"))
    for needed in (fp32, int8):
        if not needed.is_file():
            made_by = f"make it with `python -m helpers quantize … -o {folder}`"
            raise FileNotFoundError(f"{needed}: no such file; {made_by}.")
    return fp32, int8, json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}


def to_judge_on(task: tasks.Task, named: str | None, folder: Path) -> str:
    """The inputs that were named, or the course's own where the task has some; else ValueError."""
    if named is None and not task.examples:
        raise ValueError(f"{folder}: say what to judge it on with `--images FOLDER`.")
    return named or "validation"


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
