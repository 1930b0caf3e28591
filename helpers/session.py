"""Where a graph runs, proved: ONNX Runtime sessions on the CPU and on Qualcomm's HTP."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from pathlib import Path

import onnxruntime as ort

QNN = "QNNExecutionProvider"
# The emulator takes the last Hexagon it was told of; without both it is silently a v68. 60 = Snapdragon X Elite.
X_ELITE = {"soc_model": "60", "htp_arch": "73"}
# The provider ignores a name that it does not know, so a misspelt option would change nothing and say nothing.
QNN_OPTIONS = frozenset(
    "backend_path backend_type device_id disable_file_mapped_weights dump_json_qnn_graph json_qnn_graph_dir "
    "dump_qnn_ir_dlc dump_qnn_ir_dlc_dir enable_framework_op_trace enable_htp_fp16_precision "
    "enable_htp_graph_splitting enable_htp_prepare_only enable_htp_shared_memory_allocator "
    "enable_htp_spill_fill_buffer enable_vtcm_backup_buffer_sharing extended_udma htp_arch htp_bf16_enable "
    "htp_graph_finalization_optimization_mode htp_performance_mode htp_share_resource_optimization "
    "offload_graph_io_quantization op_packages profiling_file_path profiling_level qnn_context_priority "
    "qnn_saver_path rpc_control_latency skip_qnn_version_check soc_model vtcm_mb".split()
)  # the names in onnxruntime-qnn 2.7.0


@functools.cache
def _qnn_device():
    """The QNN device of this machine and whether it is the emulator; None and why where there is none."""
    if sys.platform == "darwin":
        return None, "Qualcomm publishes no onnxruntime-qnn for macOS; target 'cpu' works here"
    try:
        import onnxruntime_qnn
    except ImportError:
        return None, "onnxruntime-qnn is not installed; `uv sync` installs it on Linux x86_64 and Windows"
    if QNN not in {d.ep_name for d in ort.get_ep_devices()}:
        ort.register_execution_provider_library(QNN, onnxruntime_qnn.get_library_path())
    devices = {d.device.type: d for d in ort.get_ep_devices() if d.ep_name == QNN}
    kind = ort.OrtHardwareDeviceType
    if kind.NPU in devices:
        return devices[kind.NPU], False
    if kind.CPU in devices and platform.system() == "Linux":
        return devices[kind.CPU], True
    return None, "onnxruntime-qnn sees no Hexagon NPU on this machine; target 'cpu' works here"


def targets() -> dict[str, str]:
    """The targets that `load` accepts on this machine, each with one line that says what it is.

    >>> targets()["cpu"].startswith("ONNX Runtime")
    True
    """
    found = {"cpu": f"ONNX Runtime {ort.__version__} on {platform.machine()}"}
    device, emulated = _qnn_device()
    if device is not None:
        found["htp"] = (
            "Hexagon HTP, emulated on this CPU as Snapdragon X Elite (v73): exact codes, meaningless time"
            if emulated
            else "Hexagon HTP of this machine's NPU"
        )
    return found


@contextlib.contextmanager
def _quiet_stdout():
    """Qualcomm's library prints one line straight to file descriptor 1, past Python's sys.stdout."""
    sys.stdout.flush()
    with open(os.devnull, "w") as null:
        kept = os.dup(1)
        os.dup2(null.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def load(path, target: str = "cpu", *, optimize: bool = False, **options) -> ort.InferenceSession:
    """Open an ONNX model on one target, whole, or fail: no node moves elsewhere in silence.

    `cpu` keeps the graph as written (`optimize=True` lets ONNX Runtime fuse, which changes QDQ results);
    `htp` compiles it for the Hexagon: on the NPU where there is one, else in Qualcomm's emulator as
    Snapdragon X Elite. `options` are the QNN provider's own, as strings.

    Raises FileNotFoundError (no such file), ValueError (not a model, unknown target or option) and
    RuntimeError (the target is not here, or refuses part of the graph: the node is named).
    Source: ONNX Runtime, "QNN Execution Provider" and "Plugin execution providers".

    >>> from helpers import assets
    >>> load(assets.model(), "cpu").get_inputs()[0].shape
    [1, 3, 320, 320]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of an ONNX model.")
    if target not in ("cpu", "htp"):
        raise ValueError(f"target '{target}' is unknown; this machine has: {', '.join(targets())}.")
    so = ort.SessionOptions()
    so.log_severity_level = 4
    so.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if target == "cpu":
        if options:
            raise ValueError(f"target 'cpu' takes no option '{next(iter(options))}'; QNN's options need target 'htp'.")
        if not optimize:
            so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _open(path, so, providers=["CPUExecutionProvider"])

    if unknown := set(options) - QNN_OPTIONS:
        raise ValueError(f"QNN has no option '{min(unknown)}'; it knows: {', '.join(sorted(QNN_OPTIONS))}.")
    device, emulated = _qnn_device()
    if device is None:
        raise RuntimeError(f"target 'htp' is not here: {emulated}.")
    so.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if emulated:  # a CPU device has no backend of its own by default
        import onnxruntime_qnn

        options = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **X_ELITE, **options}
    so.add_provider_for_devices([device], options)
    with _quiet_stdout():
        session = _open(path, so, enable_fallback=0)
    session.disable_fallback()
    if elsewhere := {n: p for n, p in placement(session).items() if p != QNN}:
        node, provider = next(iter(elsewhere.items()))
        raise RuntimeError(f"{path}: {len(elsewhere)} node(s) left the HTP, the first '{node}' for {provider}.")
    return session


def _open(path: Path, so: ort.SessionOptions, **kw) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(path), so, **kw)
    except Exception as e:
        text = " ".join(str(e).split())
        if "INVALID_PROTOBUF" in text or "No graph was found" in text:
            raise ValueError(f"{path}: not an ONNX model; give a file that was exported as .onnx.") from None
        raise RuntimeError(f"{path}: does not load: {text}") from e


def placement(session: ort.InferenceSession) -> dict[str, str]:
    """Where each node runs, {node name: provider}, as ONNX Runtime recorded it when the session was built.

    `session.get_providers()` is no proof: it lists QNN even when every node sits on the CPU.
    It counts nodes as handed to the providers, which is before they fuse anything; a DequantizeLinear that
    several nodes read was copied for each of them.

    >>> from helpers import assets
    >>> set(placement(load(assets.model())).values())
    {'CPUExecutionProvider'}
    """
    return {
        node.name or f"{node.op_type}_{i}": subgraph.ep_name
        for subgraph in session.get_provider_graph_assignment_info()
        for i, node in enumerate(subgraph.get_nodes())
    }
