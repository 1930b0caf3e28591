"""The face of `targets` that notebooks use."""

from helpers.targets import QNN, Kernel, compile_context, load, op_trace, placement, qnn, targets

__all__ = ["QNN", "Kernel", "compile_context", "load", "op_trace", "placement", "qnn", "targets"]
