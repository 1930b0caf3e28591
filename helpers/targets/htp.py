"""Qualcomm's Hexagon HTP: the NPU where there is one, else Qualcomm's own emulator of it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from helpers.graph import Model
from helpers.targets import context
from helpers.targets.onnxruntime_session import open_session, placement, session_options
from helpers.targets.qnn import QNN, provider_options, qnn, quiet_stdout, refuse_another, remember
from helpers.targets.target import Target


class Htp(Target):
    """ONNX Runtime's QNN provider with the fallback to the CPU forbidden; its options are checked by name and value."""

    name, label, where = "htp", "INT8 HTP", "HTP"
    order = 2
    dtypes = frozenset({"uint8", "uint16"})
    npu_codes = True
    proves_placement = True

    def unavailable(self) -> str | None:
        """Why there is no HTP: Linux x86_64 emulates it, Windows ARM64 has the NPU."""
        try:
            qnn()
        except RuntimeError as e:
            return str(e)
        return None

    def describe(self) -> str:
        """Whether this is the NPU or its emulator."""
        if qnn()[1]:
            return "Hexagon HTP, emulated on this CPU as Snapdragon X Elite (v73): exact codes, meaningless time"
        return "Hexagon HTP of this machine's NPU"

    def open(self, model: Model | Path, **options: str) -> ort.InferenceSession:
        """A session whole on the HTP, or RuntimeError that names the node which is not; ValueError for its options."""
        device, needed = qnn()
        return _open_whole(model, device, provider_options(options, needed), emulated=bool(needed), asked=options)


def qnn_options(device: ort.OrtEpDevice, options: dict[str, str], whole: bool) -> ort.SessionOptions:
    """Session options for the QNN device; `whole` refuses a graph of which a node would fall back to the CPU."""
    so = session_options()
    so.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(whole)))
    so.add_provider_for_devices([device], options)
    return so


def _open_whole(
    model: Model | Path, device: ort.OrtEpDevice, options: dict[str, str], emulated: bool, asked: dict[str, str]
) -> ort.InferenceSession:
    """A session whole on the HTP; `asked` are the options that the caller gave, to be named where it fails."""
    if not isinstance(model, Model) and context.is_context(model):
        options = context.fit(model, options)  # the backend runs a damaged one, or another chip's, without a word
    if emulated:
        refuse_another(options)
    with quiet_stdout():
        try:
            session = open_session(model, qnn_options(device, options, whole=True), enable_fallback=0)
        except RuntimeError as e:
            if "explicitly disabled by the user" not in str(e):
                raise
            # Once more with the fallback, only to name the nodes that would take it.
            with_fallback = qnn_options(device, {**options, "offload_graph_io_quantization": "0"}, whole=False)
            session = open_session(model, with_fallback)
    session.disable_fallback()
    _refuse_fallback(model, placement(session), asked)
    if emulated:
        remember(session, options)
    return session


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
