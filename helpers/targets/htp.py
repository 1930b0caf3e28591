"""Qualcomm's Hexagon HTP: the NPU where there is one, else Qualcomm's own emulator of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import onnxruntime as ort

from helpers.graph import Model
from helpers.targets import context
from helpers.targets.onnxruntime_session import open_session, placement, session_options
from helpers.targets.provider import QNN, provider_options, qnn, quiet_stdout, refuse_another, remember
from helpers.targets.target import Target

_TOKEN = re.compile(r"(/duplicated)?(_token_\d+)?$")  # what ONNX Runtime puts behind the names of nodes that it moves


class Htp(Target):
    """ONNX Runtime's QNN provider with the fallback to the CPU forbidden; its options are checked by name and value."""

    name, label, where = "htp", "INT8 HTP", "HTP"
    order = 2
    dtypes = frozenset({"uint8", "uint16"})
    npu_codes = True
    proves_placement = True
    full_power: ClassVar = {"htp_performance_mode": "burst"}

    def unavailable(self) -> str | None:
        try:
            qnn()
        except RuntimeError as e:
            return str(e)
        return None

    def emulated(self) -> bool:
        return bool(qnn()[1])

    def describe(self) -> str:
        if self.emulated():
            return "Hexagon HTP, emulated on this CPU as Snapdragon X Elite (v73): exact codes, meaningless time"
        return "Hexagon HTP of this machine's NPU"

    def open(self, model: Model | Path, **options: str) -> ort.InferenceSession:
        """A session whole on the HTP, or RuntimeError that names the node which is not; ValueError for its options."""
        device, needed = qnn()
        used = provider_options(options, needed)
        if not isinstance(model, Model) and context.is_context(model):
            used = context.fit(model, used)  # the backend runs a damaged one, or another chip's, without a word
        if needed:
            refuse_another(used)
        with quiet_stdout():
            session = _open_whole(model, device, used)
        session.disable_fallback()
        _refuse_fallback(model, placement(session), options)
        if needed:
            remember(session, used)
        return session

    def refused(self, model: Model | Path) -> list[str]:
        device, needed = qnn()
        used = provider_options({"offload_graph_io_quantization": "0"}, needed)
        if needed:
            refuse_another(used)
        with quiet_stdout():
            placed = placement(open_session(model, qnn_options(device, used, whole=False)))
        return [_TOKEN.sub("", node) for node, provider in placed.items() if provider != QNN]


def qnn_options(device: ort.OrtEpDevice, options: dict[str, str], whole: bool) -> ort.SessionOptions:
    """Session options for the QNN device; `whole` refuses a graph of which a node would fall back to the CPU."""
    so = session_options()
    so.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(whole)))
    so.add_provider_for_devices([device], options)
    return so


def _open_whole(model: Model | Path, device: ort.OrtEpDevice, options: dict[str, str]) -> ort.InferenceSession:
    """A session whole on the HTP, or one with the fallback, which only serves to name the nodes that would take it."""
    try:
        return open_session(model, qnn_options(device, options, whole=True), enable_fallback=0)
    except RuntimeError as e:
        if "explicitly disabled by the user" not in str(e):
            raise
    return open_session(model, qnn_options(device, options | {"offload_graph_io_quantization": "0"}, whole=False))


def _refuse_fallback(model: Model | Path, placed: dict[str, str], asked: dict[str, str]) -> None:
    """Raise RuntimeError that names the first node which is not on the HTP, if there is one."""
    left = [node for node, provider in placed.items() if provider != QNN]
    if not left:
        return
    given = f" with {', '.join(f'{k}={v}' for k, v in asked.items())}" if asked else ""
    what = f"{len(left)} of its {len(placed)} node(s) cannot run on the HTP{given}, the first is '{left[0]}'"
    mend = f"change that operator or its type{', or leave an option out' if asked else ''}"
    raise RuntimeError(f"{model}: {what}; {mend}.")


TARGET = Htp()
