"""Ranges from data: histograms of every activation, and the methods that read a range off them."""

from helpers.calibrate.histogram import Histogram
from helpers.calibrate.methods import (
    METHODS,
    Method,
    entropy,
    method_named,
    minmax,
    moving_average,
    mse,
    percentile,
    ranges,
)
from helpers.calibrate.observer import observe
from helpers.calibrate.range_cost import RangeCost, expected_error
