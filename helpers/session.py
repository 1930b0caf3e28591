"""The face of `targets` that notebooks use."""

from helpers.targets import QNN, compile_context, ddr_traffic, load, op_trace, placement, qnn, targets
