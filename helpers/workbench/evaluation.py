"""What a quantized model lost: the same inputs through FP32 and INT8, labels where there are any, agreement always."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from helpers import targets
from helpers.boxes import Interval
from helpers.error import power_sums
from helpers.graph import StrPath
from helpers.targets import Target
from helpers.tasks import Task

CONSTANT, EQUAL = "constant", "equal"  # notes in the place of a number


class OutputError:
    """How far one output is from FP32's, added up input by input.

    >>> error = OutputError()
    >>> error.add(np.float32([3, 4]), np.float32([3, 3]))
    >>> error.record()
    {'sqnr_db': 13.98, 'cosine': 0.989949, 'largest_error': 1.0, 'note': None}
    """

    def __init__(self) -> None:
        self._sums = np.zeros(4)  # Σ a², Σ (a − b)², Σ a·b, Σ b²
        self._low, self._high, self._largest = np.inf, -np.inf, 0.0

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """One input's output, of FP32 and of INT8."""
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        self._sums += power_sums(a, b)
        self._low, self._high = min(self._low, a.min(initial=np.inf)), max(self._high, a.max(initial=-np.inf))
        self._largest = max(self._largest, float(np.abs(a - b).max(initial=0)))

    def record(self) -> dict[str, Any]:
        """SQNR in dB, cosine, the largest |error|; None where a note says why: constant in FP32, or equal to it."""
        signal, noise, cross, other = self._sums.tolist()
        note = CONSTANT if self._low >= self._high else EQUAL if noise == 0 else None
        db = round(float(10 * np.log10(signal / noise)), 2) if note is None and signal > 0 else None
        norm = (signal * other) ** 0.5
        cosine = round(cross / norm, 6) if norm > 0 else 0.0
        cosine = None if note == CONSTANT else cosine
        return {"sqnr_db": db, "cosine": cosine, "largest_error": float(f"{self._largest:.6g}"), "note": note}


@dataclass
class Row:
    """One model on one target: its results, and its outputs' errors against FP32 (none for FP32 itself)."""

    label: str
    path: Path
    target: Target
    runner: Any
    results: list[Any] = field(default_factory=list)
    errors: dict[str, OutputError] = field(default_factory=dict)


class _Kept:
    """A session that keeps what it gave last, so that results and outputs come from one run."""

    def __init__(self, session: Any):
        self._session, self.last = session, dict[str, np.ndarray]()
        self._names = [o.name for o in session.get_outputs()]

    def run(self, names: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = self._session.run(names, feed)
        self.last = dict(zip(names or self._names, found, strict=True))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class Evaluation:
    """FP32 on the CPU, INT8 on the CPU and INT8 on `target`, opened; what refuses the model does so before any runs.

    `placed`: (nodes on the NPU, all nodes), None for a target that proves nothing. Raises as `targets.load` and
    `Task.runner` do.
    """

    def __init__(self, task: Task, fp32: StrPath, int8: StrPath, target: Target):
        self.task, cpu = task, targets.get("cpu")
        wanted = {target.label: (int8, target), cpu.label: (int8, cpu), "FP32 CPU": (fp32, cpu)}
        opened = [Row(label, Path(path), on, task.runner(path, on.name)) for label, (path, on) in wanted.items()]
        self.rows = opened[::-1]
        self.placed: tuple[int, int] | None = None
        if target.proves_placement:
            providers = list(targets.placement(opened[0].runner.session).values())
            self.placed = sum(p == targets.QNN for p in providers), len(providers)
        for row in self.rows:
            row.runner.session = _Kept(row.runner.session)
        self._truths, self._unlabelled = None, "nothing was run"

    def run(self, inputs: Sequence[Path]) -> None:
        """Every input through every row; ValueError that names the file for bad labels, and where FP32 gives NaN."""
        reference, *others = self.rows
        self._truths, self._unlabelled = self._labels(inputs)
        for path in tqdm(inputs, unit=self.task.words.input, leave=False, file=sys.stderr):
            for row in self.rows:
                row.results.append(row.runner.results(path))
            outputs = reference.runner.session.last
            if not all(np.isfinite(a).all() for a in outputs.values()):
                raise ValueError(f"{path}: the float model gives NaN or infinity for it; leave it out.")
            for row in others:
                for name, values in row.runner.session.last.items():
                    row.errors.setdefault(name, OutputError()).add(outputs[name], values)

    def _labels(self, inputs: Sequence[Path]) -> tuple[Any, str]:
        """The labels, and why there are none."""
        if not self.task.scores:
            return None, f"nothing scores task '{self.task.name}'"
        try:
            return self.task.truths(inputs), ""
        except FileNotFoundError as e:
            return None, str(e)

    def scores(self) -> tuple[list[dict[str, float]], str | None]:
        """What labels say of each row, and why there is nothing where no labels of this model are."""
        if self._truths is None:
            return [], self._unlabelled
        try:
            return [self.task.score_results(row.results, self._truths) for row in self.rows], None
        except FileNotFoundError as e:
            return [], str(e)

    def agreement(self, row: Row) -> tuple[Mapping[str, Interval], str | None]:
        """The task's agreement of a row with FP32, and why there is nothing where FP32 finds nothing."""
        try:
            return self.task.agreement(self.rows[0].results, row.results), None
        except ValueError as e:
            return {}, str(e)
