"""Where a graph runs, proved: a file a target, and `load`, which opens a model on one, whole, or fails."""

from helpers.targets.compiler import compile_context
from helpers.targets.ddr_traffic import Traffic, ddr_traffic
from helpers.targets.latency import Latency, latency
from helpers.targets.onnxruntime_session import ARRAY_TYPES, placement
from helpers.targets.op_trace import Kernel, op_trace
from helpers.targets.provider import QNN, qnn
from helpers.targets.target import Target, get, load, quickest, registry, targets
