"""The NPU's arithmetic in NumPy: a QDQ graph run on codes, to the codes that the HTP computes."""

from helpers.integer.session import Session
from helpers.integer.simulator import Simulator, one_thread, run

__all__ = ["Session", "Simulator", "one_thread", "run"]
