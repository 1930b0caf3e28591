"""Chapter 04: counts that grow, and three ways to read a range off them, written by the reader."""

from helpers.exercise.builds.calibrate.counts import PERCENTILE, UPDATE
from helpers.exercise.builds.calibrate.search import ENTROPY, MSE

BUILDS = [UPDATE, PERCENTILE, MSE, ENTROPY]
