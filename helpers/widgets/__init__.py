"""Hands on the numbers: a few controls and one picture, redrawn at each step."""

from helpers.widgets.compare import compare
from helpers.widgets.controls import pick_tensor, pick_weight
from helpers.widgets.follow import follow
from helpers.widgets.staircase import staircase
from helpers.widgets.tuning import TuneRange

__all__ = ["TuneRange", "compare", "follow", "pick_tensor", "pick_weight", "staircase", "tune_range", "workbench"]

tune_range = TuneRange  # among the functions it is called like one


def workbench(model=None, inputs=None, calibration=None, **options):
    """`helpers.workbench.workbench` under the name that stands with the other widgets."""
    from helpers.workbench import workbench  # the one import that points up: the workbench is made of these widgets

    return workbench(model, inputs, calibration, **options)
