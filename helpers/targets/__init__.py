"""Where a graph runs, proved."""

from helpers.targets.context import compile_context
from helpers.targets.load import Kernel, load, op_trace, placement, targets
from helpers.targets.qnn import QNN, qnn

__all__ = ["QNN", "Kernel", "compile_context", "load", "op_trace", "placement", "qnn", "targets"]
