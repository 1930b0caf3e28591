"""What the HTP made of a model's nodes, read from the backend's own trace."""

from __future__ import annotations

import contextlib
import csv
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.graph import Feed, StrPath
from helpers.targets.onnxruntime_session import ARRAY_TYPES
from helpers.targets.target import load


class Kernel(NamedTuple):
    """What the backend ran as one: its name, its cycles (the host's, where emulated), the ONNX nodes it came from."""

    name: str
    cycles: int
    nodes: tuple[str, ...]


def op_trace(path: StrPath, feed: Feed | None = None) -> list[Kernel]:
    """The HTP's kernels in one run, from the backend's own trace; one of 0 cycles was fused into another.

    Without a `feed` the inputs are zeros. Raises as `load(path, "htp")` does. Source: ONNX Runtime, "QNN Execution
    Provider", framework op trace.
    """
    path = Path(path).resolve()
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):  # it leaves a file where it stands
        trace = Path(work) / "trace.csv"
        session = load(
            path, "htp", profiling_level="detailed", enable_framework_op_trace="1", profiling_file_path=str(trace)
        )
        zeros = {i.name: np.zeros(i.shape, ARRAY_TYPES[i.type]) for i in session.get_inputs()}
        session.run(None, feed or zeros)
        del session
        with open(trace, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["Message"] == "NODE"]
    return [
        Kernel(row["Event Identifier"].rpartition(":OpId_")[0], int(row["Time"]), tuple(nodes.split(";")))
        for row in rows
        if (nodes := row["ONNX Source Ops"])
    ]
