"""ONNX Runtime sessions, opened with what goes wrong as a sentence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from helpers.graph import Model, is_large, write_large

ARRAY_TYPES = {  # what a session calls the type of an input or output, and the array that holds it
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    **{f"tensor({kind})": np.dtype(kind) for kind in "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()},
}


def session_options(threads: int | None = None) -> ort.SessionOptions:
    """Options that keep the log silent and record where each node was placed."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong comes as an exception
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def open_session(model: Model | Path, options: ort.SessionOptions, **keywords: Any) -> ort.InferenceSession:
    """A session on a path or a `graph.Model`; raises ValueError for what is no model, RuntimeError with the reason."""
    if isinstance(model, Model) and is_large(model.proto):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
            return open_session(write_large(model.proto, Path(work) / "model.onnx"), options, **keywords)
    source = model.proto.SerializeToString() if isinstance(model, Model) else str(model)
    try:
        return ort.InferenceSession(source, options, **keywords)
    except Exception as e:
        text = " ".join(str(e).split())
        if "INVALID_PROTOBUF" in text or "No graph was found" in text:
            raise ValueError(f"{model}: not an ONNX model; give a file that was exported as .onnx.") from None
        raise RuntimeError(f"{model}: does not load: {text}") from e


def placement(session: ort.InferenceSession) -> dict[str, str]:
    """Where each node runs, {node name: provider}, as ONNX Runtime recorded it when the session was built.

    `session.get_providers()` is no proof: it lists QNN even when every node sits on the CPU. Nodes are those handed to
    the providers: not fused yet, a DequantizeLinear once for each reader, and for the HTP channels-last, with
    Transposes and a `_token_N` behind the names.

    >>> from helpers import assets, targets
    >>> set(placement(targets.load(assets.model())).values())
    {'CPUExecutionProvider'}
    """
    parts = session.get_provider_graph_assignment_info()
    placed = [(node, part.ep_name) for part in parts for node in part.get_nodes()]
    return {node.name or f"{node.op_type}_{i}": provider for i, (node, provider) in enumerate(placed)}
