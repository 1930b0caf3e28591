"""Qualcomm's QNN backend: where this machine has it, what it must be told, and how to keep it quiet."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import onnxruntime as ort

QNN = "QNNExecutionProvider"
X_ELITE = {"soc_model": "60", "htp_arch": "73"}  # Snapdragon X Elite, which is what the emulator is for us
# The architecture of each chip's Hexagon, read from contexts that the emulator of onnxruntime-qnn 2.7.0 compiled.
# It knows no Hexagon for any other number: it computes as v68 without a word, or takes no node.
SOCS_OF_ARCH = {
    "68": "30 32 34 35 37 38 39 62 93",
    "69": "36 41 42 53 54",
    "73": "43 45 46 50 52 58 60 61 64 66 68 70 73 74 76 77 78 85 86 89 91 100 101 102",
    "75": "57 67 82 90",
    "79": "69 75 104 105",
    "81": "72 87 88 92 94 95 96 97 99 108 109 110 111",
    "85": "103 112",
}
ARCH_OF_SOC = {soc: arch for arch, socs in SOCS_OF_ARCH.items() for soc in socs.split()}


class Values(NamedTuple):
    """The values that an option takes: in words, and as a test."""

    words: str
    holds: Callable[[str], bool]


def _one_of(names: str) -> Values:
    return Values(", ".join(names.split()), lambda value: value in names.split())


def _integer(low: int, high: int) -> Values:
    def holds(value: str) -> bool:
        return bool(re.fullmatch("[0-9]+", value)) and low <= int(value) <= high

    return Values(f"an integer from {low} to {high}", holds)


_FOLDER = Values("a path in a folder that exists", lambda value: bool(value) and Path(value).parent.is_dir())
_SWITCHES = (
    "disable_file_mapped_weights dump_json_qnn_graph enable_block_quant_weight_optimization enable_framework_op_trace "
    "enable_htp_fp16_clamp_overflow enable_htp_fp16_precision enable_htp_graph_splitting enable_htp_monolithic_lstm "
    "enable_htp_prepare_only enable_htp_shared_memory_allocator enable_htp_spill_fill_buffer "
    "enable_vtcm_backup_buffer_sharing extended_udma htp_bf16_enable offload_graph_io_quantization "
    "skip_qnn_version_check"
)
# The provider ignores a name or a value that it does not know and says nothing, so all of them are checked here.
# Names and values: ONNX Runtime, "QNN Execution Provider", and the library of onnxruntime-qnn 2.7.0. Left out:
# qnn_saver_path and dump_qnn_ir_dlc, which put a recorder in the HTP's place and return what nothing computed.
QNN_OPTIONS = {name: _one_of("0 1") for name in _SWITCHES.split()} | {
    "backend_path": Values(
        "the path of libQnnHtp.so or QnnHtp.dll",
        lambda value: Path(value).is_file() and Path(value).name in ("libQnnHtp.so", "QnnHtp.dll"),
    ),
    "backend_type": _one_of("htp"),
    "device_id": _integer(0, 2**31 - 1),
    "framework_op_trace_dir": _FOLDER,
    "htp_arch": _one_of("68 69 73 75 79 81"),
    "htp_graph_finalization_optimization_mode": _one_of("0 1 2 3"),
    "htp_performance_mode": _one_of(
        "burst balanced default high_performance high_power_saver low_balanced low_power_saver power_saver "
        "extreme_power_saver sustained_high_performance"
    ),
    "htp_share_resource_optimization": _one_of("1"),
    "json_qnn_graph_dir": _FOLDER,
    "op_packages": Values("<OpType>:<path>:<symbol>[:<target>]", lambda value: value.count(":") >= 2),
    "profiling_file_path": _FOLDER,
    "profiling_level": _one_of("off basic detailed optrace"),
    "qnn_context_priority": _one_of("low normal_low normal normal_high high high_plus critical critical_plus"),
    "rpc_control_latency": _integer(0, 2**32 - 1),
    "soc_model": _one_of("0 " + " ".join(ARCH_OF_SOC)),
    "vtcm_mb": _integer(1, 1024),
}


def provider_options(given: dict[str, str], needed: dict[str, str]) -> dict[str, str]:
    """The options of one session: those `given`, checked by name and value, on top of those `needed`.

    Either of soc_model and htp_arch brings the other along, since the backend follows soc_model where they differ.
    Raises ValueError that names the option and what is allowed.

    >>> provider_options({"soc_model": "36"}, X_ELITE)
    {'soc_model': '36', 'htp_arch': '69'}
    """
    for name, value in given.items():
        if name not in QNN_OPTIONS:
            raise ValueError(f"QNN has no option '{name}'; it knows: {', '.join(sorted(QNN_OPTIONS))}.")
        if not isinstance(value, str) or not QNN_OPTIONS[name].holds(value):
            raise ValueError(
                f"QNN option {name}={value!r} is not allowed; allowed is, as a string: {QNN_OPTIONS[name].words}."
            )
    soc, arch = given.get("soc_model", "0"), given.get("htp_arch")
    if soc != "0" and arch and arch != ARCH_OF_SOC[soc]:
        raise ValueError(f"soc_model={soc} is a Hexagon v{ARCH_OF_SOC[soc]} and htp_arch={arch} is not; give one only.")
    if "soc_model" in given and soc == "0" and not arch:
        raise ValueError("soc_model=0 names no chip, so the backend would compute as v68; give htp_arch with it.")
    merged = {**needed, **given}
    if "soc_model" in given or arch:
        merged |= {"soc_model": soc, "htp_arch": arch or ARCH_OF_SOC[soc]}
    if "backend_type" in given and "backend_path" not in given:
        merged.pop("backend_path", None)  # the provider takes one of the two
    return merged


HEXAGON = ("soc_model", "htp_arch", "vtcm_mb")  # the options that make the emulator another machine
_sessions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # {session on the emulator: its Hexagon}


def hexagon(options: dict[str, str]) -> str:
    """The Hexagon that provider options, or those in a context's manifest, name.

    >>> hexagon({"soc_model": "60", "htp_arch": "73", "vtcm_mb": "4"})
    'soc_model 60, v73 with 4 MB of VTCM'
    """
    if "soc_model" not in options:
        return "an NPU that it does not name"
    vtcm = f" with {options['vtcm_mb']} MB of VTCM" if "vtcm_mb" in options else ""
    return f"soc_model {options['soc_model']}, v{options['htp_arch']}{vtcm}"


def remember(session: ort.InferenceSession, options: dict[str, str]) -> None:
    """Note which Hexagon the emulator runs this session on, for as long as the session lives."""
    _sessions[session] = hexagon(options)


def refuse_another(options: dict[str, str]) -> None:
    """Raise RuntimeError while a session of another Hexagon is open: the emulator is one Hexagon, the last asked for.

    The older session would fail at its next run, with error 1100 and no reason.
    """
    wanted = hexagon(options)
    if set(_sessions.values()) - {wanted}:
        gc.collect()  # a session that nobody holds any more may wait in a cycle
    for other in set(_sessions.values()) - {wanted}:
        raise RuntimeError(
            f"the emulator is one Hexagon at a time, and a session for {other} is open; delete it before you ask for "
            f"{wanted}, or use another process."
        )


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


_changing = threading.Lock()  # descriptor 1 is the whole process's
_quiet = {"users": 0, "kept": -1}  # uses of `quiet_stdout` under way, and a copy of descriptor 1


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Qualcomm's library prints one line straight to file descriptor 1, past Python's sys.stdout.

    Uses may nest and overlap in threads: the first turns descriptor 1 to nowhere, the last one out restores it.
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
