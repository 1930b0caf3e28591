"""Hands on the numbers: a few controls and one picture, redrawn at each step."""

from helpers.widgets.controls import compare, follow, pick_tensor, pick_weight, staircase, tune_range
from helpers.widgets.figure import InteractiveFigure
from helpers.widgets.tuning import TuneRange

__all__ = [
    "InteractiveFigure",
    "TuneRange",
    "compare",
    "follow",
    "pick_tensor",
    "pick_weight",
    "staircase",
    "tune_range",
    "workbench",
]


def workbench(model=None, pictures=None, calibration=None):
    """`helpers.workbench.workbench` under the name that stands with the other widgets."""
    from helpers.workbench import workbench  # the one import that points up: the workbench is made of these widgets

    return workbench(model, pictures, calibration)
