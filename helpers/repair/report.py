"""What a recipe did, as report.json and one page, report.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers import plot, qdq
from helpers.tasks import Task, recognise


def write_report(folder, name: str, inputs: Sequence[Path], steps: dict) -> None:
    """Write report.json and report.png into `folder`: what each step bought, SQNR by depth, what changed most.

    `folder` holds fp32.onnx and int8.onnx, `name` is the model's, `inputs` the files that judge (eight are looked at),
    `steps` what `quantize_best` returned. Raises as `Task.runner` and `qdq.layer_sqnr` do.
    """
    folder = Path(folder)
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    task, few = recognise(fp32), inputs[:: max(1, len(inputs) // 8)][:8]
    sqnr = qdq.layer_sqnr(fp32, int8, task.feeds(few[:2], fp32))
    before, names = _results(task, fp32, few)
    after, _ = _results(task, int8, few)
    found = {
        "model": name,
        **steps,
        "activation_tensors": len(sqnr),
        "bytes": {p.name: p.stat().st_size for p in (fp32, int8)},
        "sqnr_db": {t: round(v, 2) for t, v in sqnr.items() if np.isfinite(v)},
        "compared_on": [p.name for p in few],
    }
    title = "SQNR of each activation (what the task does not need may be cut on purpose)"
    figures = [plot.recipe_steps(steps["steps"], task.drifts), plot.sqnr_by_depth({name: sqnr}, title)]
    if any(task.count(results) for results in before):  # else there is nothing to compare
        metrics = task.agreement(before, after)
        found["paired"] = {k: v for k, v in metrics.items() if np.isfinite(v).all()}
        k = int(np.argmax([task.change(a, b) for a, b in zip(before, after, strict=True)]))
        figures.append(task.picture(few[k], before[k], after[k], names))
    (folder / "report.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    plot.stack_figures(figures, folder / "report.png")


def _results(task: Task, path: Path, inputs: Sequence[Path]) -> tuple[list, Mapping[int, str]]:
    """A model's results on a few inputs, and its classes' names; the session is gone before the next one opens."""
    runner = task.runner(path)
    return [runner.results(p) for p in inputs], runner.names
