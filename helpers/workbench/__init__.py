"""Hands on a whole model: change a range, see what its results do, hand over what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers import assets, tasks
from helpers.workbench.experiment import Experiment
from helpers.workbench.ui import Workbench

__all__ = ["Experiment", "Workbench", "workbench"]

Inputs = str | Path | Sequence[str | Path] | None


def workbench(model: str | Path | None = None, pictures: Inputs = None, calibration: Inputs = None) -> Workbench:
    """Open the workbench on a model (FP32 ONNX), `pictures` to judge on and `calibration` pictures.

    A model is named as for `assets.model`. Pictures, or whatever its task takes, are a folder as for `Task.inputs`,
    or a list of paths. None takes what `assets.course()` has, 6 pictures and 16; your own pictures alone also
    calibrate. Raises as `Experiment` does.
    """
    if model is None or pictures is None:
        own, calibrating, judging = assets.course()
    chosen = assets.model(model) if model else own
    task = tasks.recognise(chosen)
    judge, calibrate = (task.inputs(p) if isinstance(p, (str, Path)) else p for p in (pictures, calibration))
    if judge is None:
        judge, calibrate = judging[:6], calibrate or calibrating[:16]
    return Workbench(Experiment(chosen, judge, calibrate))
