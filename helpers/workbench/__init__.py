"""Hands on a whole model: change a range, see what its results do, hand over what was found."""

from helpers.workbench.experiment import Experiment
from helpers.workbench.ui import Workbench, workbench

__all__ = ["Experiment", "Workbench", "workbench"]
