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
def qnn() -> tuple[ort.OrtEpDevice, dict[str, str]]:
    """The QNN device of this machine and the provider options that it needs; registers the plugin once.

    An NPU needs none. The emulator is a device of type CPU and needs its backend named, and the Snapdragon.
    Raises RuntimeError that says why there is no device.
    """
    if sys.platform == "darwin":
        raise RuntimeError("target 'htp' is not here: Qualcomm publishes no onnxruntime-qnn for macOS; use 'cpu'.")
    try:
        import onnxruntime_qnn
    except ImportError:
        raise RuntimeError("target 'htp' is not here: onnxruntime-qnn is not installed; use 'cpu'.") from None
    if QNN not in {d.ep_name for d in ort.get_ep_devices()}:
        ort.register_execution_provider_library(QNN, onnxruntime_qnn.get_library_path())
    devices = {d.device.type: d for d in ort.get_ep_devices() if d.ep_name == QNN}
    kind = ort.OrtHardwareDeviceType
    if kind.NPU in devices:
        return devices[kind.NPU], {}
    if kind.CPU in devices and sys.platform == "linux":
        return devices[kind.CPU], {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **X_ELITE}
    raise RuntimeError("target 'htp' is not here: onnxruntime-qnn sees no Hexagon NPU on this machine; use 'cpu'.")


def targets() -> dict[str, str]:
    """The targets that `load` accepts on this machine, each with one line that says what it is.

    >>> targets()["cpu"].startswith("ONNX Runtime")
    True
    """
    found = {"cpu": f"ONNX Runtime {ort.__version__} on {platform.machine()}"}
    with contextlib.suppress(RuntimeError):
        found["htp"] = (
            "Hexagon HTP, emulated on this CPU as Snapdragon X Elite (v73): exact codes, meaningless time"
            if qnn()[1]
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
    Snapdragon X Elite. `options` are the QNN provider's own, as strings. `integer` is `helpers.integer`: the HTP's
    arithmetic in NumPy, on any machine; what it returns runs like a session but has no `placement`.

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
    if target == "integer":
        from .integer import Session  # imported here: it stands above `qdq`, which most sessions do not need

        if options or optimize:
            raise ValueError("target 'integer' takes no options; it computes the graph as the HTP would.")
        return Session(path)
    if target not in ("cpu", "htp"):
        raise ValueError(f"target '{target}' is unknown; this machine has: {', '.join(targets())}.")
    if target == "cpu":
        so = _options()
        if options:
            raise ValueError(f"target 'cpu' takes no option '{next(iter(options))}'; QNN's options need target 'htp'.")
        if not optimize:
            so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _open(path, so, providers=["CPUExecutionProvider"])

    if unknown := set(options) - QNN_OPTIONS:
        raise ValueError(f"QNN has no option '{min(unknown)}'; it knows: {', '.join(sorted(QNN_OPTIONS))}.")
    device, needed = qnn()
    options = {**needed, **options}
    with _quiet_stdout():
        try:
            session = _open(path, _options(device, options, "1"), enable_fallback=0)
        except RuntimeError as e:
            if "explicitly disabled by the user" not in str(e):
                raise
            # Once more with the fallback, only to name the nodes that would take it.
            session = _open(path, _options(device, {**options, "offload_graph_io_quantization": "0"}, "0"))
    session.disable_fallback()
    placed = placement(session)
    if left := [node for node, provider in placed.items() if provider != QNN]:
        raise RuntimeError(
            f"{path}: {len(left)} of its {len(placed)} node(s) cannot run on the HTP, the first is '{left[0]}'; "
            "change that operator or its type."
        )
    return session


def _options(device=None, provider_options=None, whole: str = "0") -> ort.SessionOptions:
    so = ort.SessionOptions()
    so.log_severity_level = 4  # what goes wrong comes as an exception
    so.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if device is not None:
        so.add_session_config_entry("session.disable_cpu_ep_fallback", whole)
        so.add_provider_for_devices([device], provider_options)
    return so


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
    several nodes read was copied for each of them. On the way to the HTP, ONNX Runtime also turns the graph to
    channels-last: names get a `_token_N` behind them, and Transposes come in.

    >>> from helpers import assets
    >>> set(placement(load(assets.model())).values())
    {'CPUExecutionProvider'}
    """
    parts = session.get_provider_graph_assignment_info()
    placed = [(node, part.ep_name) for part in parts for node in part.get_nodes()]
    return {node.name or f"{node.op_type}_{i}": provider for i, (node, provider) in enumerate(placed)}
