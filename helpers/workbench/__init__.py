"""Hands on a whole model: change a range, see what its results do, hand over what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers import assets, tasks
from helpers.workbench.experiment import Experiment
from helpers.workbench.ui import Workbench

__all__ = ["Experiment", "Workbench", "workbench"]

Inputs = str | Path | Sequence[str | Path] | None


def workbench(
    model: str | Path | None = None,
    inputs: Inputs = None,
    calibration: Inputs = None,
    *,
    task: str | None = None,
    pictures: Inputs = None,
) -> Workbench:
    """Open the workbench on a model (FP32 ONNX), `inputs` to judge on and `calibration` inputs.

    A model is named as for `assets.model`. Inputs are what its task takes, pictures or arrays: a folder as for
    `Task.inputs`, or a list of paths. `task` is one of `tasks.registry()`; None recognises it. Without inputs it takes
    what `assets.course()` has, 6 pictures and 16; your own inputs alone also calibrate. `pictures` is what `inputs`
    was called before. Raises as `Experiment` and `tasks.named` do.
    """
    inputs = pictures if inputs is None else inputs
    if model is None or inputs is None:
        own, calibrating, judging = assets.course()
    chosen = assets.model(model) if model else own
    kind = tasks.named(task) if task else tasks.recognise(chosen)
    judge, calibrate = (kind.inputs(p) if isinstance(p, (str, Path)) else p for p in (inputs, calibration))
    if judge is None:
        judge, calibrate = judging[:6], calibrate or calibrating[:16]
    return Workbench(Experiment(chosen, judge, calibrate, task=kind))
