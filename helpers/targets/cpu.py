"""The CPU: ONNX Runtime, the graph as written."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, ClassVar

import onnxruntime as ort

from helpers.graph import Model
from helpers.targets.context import is_context
from helpers.targets.onnxruntime_session import open_session, session_options
from helpers.targets.target import Target


class Cpu(Target):
    """ONNX Runtime's CPU provider; `optimize=True` lets it fuse, which is quicker and changes QDQ results.

    `threads` sets how many it uses; without `arena` memory goes back to the system after each run.

    >>> from helpers import assets
    >>> [o.shape for o in Cpu().open(assets.model(), threads=1).get_inputs()]
    [[1, 3, 320, 320]]
    """

    name, label, where = "cpu", "INT8 CPU", "CPU"
    order = 0
    dtypes = frozenset({"uint8", "int8", "uint16", "int16", "uint4", "int4"})
    runs_floats = True
    quickly: ClassVar = {"optimize": True}  # YOLOv8n in 8 bits: 0.6 of the time, drift 0.072 for 0.069

    def describe(self) -> str:
        return f"ONNX Runtime {ort.__version__} on {platform.machine()}"

    def open(
        self,
        model: Model | Path,
        *,
        optimize: bool = False,
        threads: int | None = None,
        arena: bool = True,
        **options: Any,
    ) -> ort.InferenceSession:
        """A session on the CPU; raises ValueError for another target's options and for a compiled context."""
        if options:
            raise ValueError(f"target 'cpu' takes no option '{next(iter(options))}'; QNN's options need target 'htp'.")
        if not isinstance(model, Model) and is_context(model):
            raise ValueError(f"{model}: a context compiled for the HTP; load it with target 'htp'.")
        so = session_options(threads)
        so.enable_cpu_mem_arena = arena
        if not optimize:
            so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Fused 8-bit kernels add pairs of products in 16 bits where the processor has AVX2 but no VNNI, and saturate.
        so.add_session_config_entry("session.x64quantprecision", "1")
        return open_session(model, so, providers=["CPUExecutionProvider"])


TARGET = Cpu()
