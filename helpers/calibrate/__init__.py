"""Ranges from data: histograms of every activation, and the methods that read a range off them."""

from helpers.calibrate.histogram import Histogram
from helpers.calibrate.methods import METHODS, entropy, minmax, moving_average, mse, percentile
from helpers.calibrate.observer import observe
from helpers.calibrate.range_cost import RangeCost, expected_error

__all__ = [
    "METHODS",
    "Histogram",
    "RangeCost",
    "entropy",
    "expected_error",
    "minmax",
    "moving_average",
    "mse",
    "observe",
    "percentile",
]
