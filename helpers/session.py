"""Where a graph runs, proved: ONNX Runtime sessions on the CPU and on Qualcomm's HTP."""

from __future__ import annotations

import contextlib
import csv
import os
import platform
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from . import context
from .backend import QNN, provider_options, qnn, quiet_stdout, refuse_another, remember
from .graph import is_quantized, read_model, refuse_overwrite


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
    return found | {"integer": "Hexagon HTP's arithmetic in NumPy: A8W8 graphs, the same codes, on any machine"}


def load(path, target: str = "cpu", *, optimize: bool = False, **options) -> ort.InferenceSession:
    """Open an ONNX model on one target, whole, or fail: no node moves elsewhere in silence.

    `cpu` keeps the graph as written (`optimize=True` lets ONNX Runtime fuse, which changes QDQ results);
    `htp` compiles it for the Hexagon: on the NPU where there is one, else in Qualcomm's emulator as
    Snapdragon X Elite. `options` are the QNN provider's own, as strings, and checked; `soc_model` or `htp_arch` ask
    the emulator for another Hexagon. `integer` is `helpers.integer`: the HTP's arithmetic in NumPy, on any machine;
    what it returns runs like a session but has no `placement`.

    Raises FileNotFoundError (no such file), ValueError (not a model, unknown target, option or value, a context
    for another Hexagon) and RuntimeError (the target is not here, refuses part of the graph: the node is named, or is
    emulating another Hexagon in a session that is still open).
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
        if context.is_context(path):
            raise ValueError(f"{path}: a context compiled for the HTP; load it with target 'htp'.")
        so = _options()
        if options:
            raise ValueError(f"target 'cpu' takes no option '{next(iter(options))}'; QNN's options need target 'htp'.")
        if not optimize:
            so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Fused 8-bit kernels add pairs of products in 16 bits where the processor has AVX2 but no VNNI, and saturate.
        so.add_session_config_entry("session.x64quantprecision", "1")
        return _open(path, so, providers=["CPUExecutionProvider"])

    device, needed = qnn()
    return _on_htp(path, device, provider_options(options, needed), emulated=bool(needed), asked=options)


def _on_htp(path: Path, device, options: dict, emulated: bool, asked: dict) -> ort.InferenceSession:
    """A session whole on the HTP; `asked` are the options that the caller gave, to be named where it fails."""
    if context.is_context(path):
        options = context.fit(path, options)  # the backend runs a damaged one, or another chip's, without a word
    if emulated:
        refuse_another(options)
    with quiet_stdout():
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
        given = f" with {', '.join(f'{k}={v}' for k, v in asked.items())}" if asked else ""
        raise RuntimeError(
            f"{path}: {len(left)} of its {len(placed)} node(s) cannot run on the HTP{given}, the first is '{left[0]}'; "
            f"change that operator or its type{', or leave an option out' if asked else ''}."
        )
    if emulated:
        remember(session, options)
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


def compile_context(path, out, embed: bool = True, **options) -> Path:
    """Compile a QDQ model ahead of time for the HTP: `out`.onnx, loaded in milliseconds where compiling takes seconds.

    Built for this machine's NPU, or with the emulator for Snapdragon X Elite (soc_model 60, v73), unless `options`
    name another Hexagon. The binary lies in the ONNX file, or beside it as `<stem>_qnn.bin` if not `embed`.
    `<stem>.json` is its passport: SHA-256 of all files and of the model, versions, SoC and all options that it was
    compiled with, and where the ranges came from (`ranges.json` beside the model); `load` checks it. All files are
    written, or none, and only over an older context.

    Raises as `load(path, "htp")` does, and ValueError for a context, a model that is not quantized, a name that does
    not end in .onnx or is taken by another file. Source: ONNX Runtime, "EPContext design".
    """
    path, out = Path(path), Path(out)
    if out.suffix != ".onnx":
        raise ValueError(f"{out}: a context is an ONNX file; give a name that ends in .onnx.")
    if path.is_file() and context.is_context(path):
        raise ValueError(f"{path}: compiled already; give the QDQ model that it was made from.")
    if not is_quantized(read_model(path)):
        raise ValueError(
            f"{path}: not quantized (it has no QDQ nodes), so the HTP would compute it in float16; "
            "quantize it first with `python -m helpers quantize`."
        )
    made = [out, context.passport(out), out.with_name(f"{out.stem}_qnn.bin")]
    refuse_overwrite(made, [path, path.with_name("ranges.json")])
    context.refuse_foreign(out)
    device, needed = qnn()
    used = provider_options(options, needed)
    if needed:
        refuse_another(used)
    told = {k: v for k, v in used.items() if k in options or k != "backend_path"}  # not where this machine has it
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        _compile(path, Path(work) / out.name, embed, _options(device, used, "1"), options)
        built_for = {k: used[k] for k in ("soc_model", "htp_arch") if k in used} or {"device": "this NPU"}
        context.seal(Path(work) / out.name, path, context.ranges_beside(path), **built_for, options=told)
        for file in sorted(Path(work).iterdir(), key=lambda f: f.suffix == ".onnx"):  # the shell last
            os.replace(file, out.with_name(file.name))
    return out


def _compile(path: Path, made: Path, embed: bool, so: ort.SessionOptions, asked: dict) -> None:
    for key, value in {"enable": "1", "embed_mode": str(int(embed)), "file_path": str(made)}.items():
        so.add_session_config_entry(f"ep.context_{key}", value)
    try:
        with quiet_stdout():
            _open(path, so, enable_fallback=0)
    except (RuntimeError, ValueError):
        load(path, "htp", **asked)  # says it by node
        raise


class Kernel(NamedTuple):
    """What the backend ran as one: its name, its cycles (the host's, where emulated), the ONNX nodes it came from."""

    name: str
    cycles: int
    nodes: tuple[str, ...]


def op_trace(path, feed=None) -> list[Kernel]:
    """What the HTP made of a model's nodes, read from the backend's own trace of one run: who was fused with whom.

    A kernel of 0 cycles was fused into another: SiLU's Sigmoid into its Mul. Without a `feed` the inputs are zeros.
    Raises as `load(path, "htp")` does. Source: ONNX Runtime, "QNN Execution Provider", framework op trace.
    """
    path = Path(path).resolve()
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):  # it leaves a file where it stands
        trace = Path(work) / "trace.csv"
        session = load(
            path, "htp", profiling_level="detailed", enable_framework_op_trace="1", profiling_file_path=str(trace)
        )
        kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16}
        session.run(None, feed or {i.name: np.zeros(i.shape, kinds[i.type]) for i in session.get_inputs()})
        del session
        with open(trace, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["Message"] == "NODE"]
    return [
        Kernel(
            row["Event Identifier"].rpartition(":OpId_")[0], int(row["Time"]), tuple(row["ONNX Source Ops"].split(";"))
        )
        for row in rows
        if row["ONNX Source Ops"]
    ]
