"""Qualcomm's QNN backend: where this machine has it, what it must be told, and how to keep it quiet."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading

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

_changing, _quiet = threading.Lock(), {"users": 0, "kept": -1}  # descriptor 1 is the whole process's


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


@contextlib.contextmanager
def quiet_stdout():
    """Qualcomm's library prints one line straight to file descriptor 1, past Python's sys.stdout.

    Uses may nest and overlap in threads: the first turns descriptor 1 to nowhere, the last one out restores it.

    >>> with quiet_stdout():
    ...     _ = os.write(1, b"not seen")
    """
    with _changing:
        if not _quiet["users"]:
            sys.stdout.flush()
            _quiet["kept"] = os.dup(1)
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 1)
        _quiet["users"] += 1
    try:
        yield
    finally:
        with _changing:
            _quiet["users"] -= 1
            if not _quiet["users"]:
                os.dup2(_quiet["kept"], 1)
                os.close(_quiet["kept"])
