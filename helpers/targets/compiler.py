"""Compile a QDQ model ahead of time for the HTP."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime as ort

from helpers.graph import Model, StrPath, refuse_overwrite
from helpers.targets import context
from helpers.targets.htp import qnn_options
from helpers.targets.onnxruntime_session import open_session
from helpers.targets.provider import provider_options, qnn, quiet_stdout, refuse_another
from helpers.targets.target import load


def compile_context(qdq_model: StrPath, out: StrPath, embed: bool = True, **options: str) -> Path:
    """Compile a QDQ model ahead of time for the HTP: `out`.onnx, loaded in milliseconds where compiling takes seconds.

    Built for this machine's NPU, or with the emulator for Snapdragon X Elite (soc_model 60, v73), unless `options`
    name another Hexagon. The binary lies in the ONNX file, or beside it as `<stem>_qnn.bin` if not `embed`;
    `<stem>.json` is the manifest that `load` checks. All are written, or none, and only over an older context.

    Raises as `load(path, "htp")` does, and ValueError for a context, a model that is not quantized, a name that does
    not end in .onnx or is taken by another file. Source: ONNX Runtime, "EPContext design".

    >>> compile_context("model.onnx", "model.ctx")
    Traceback (most recent call last):
    ValueError: model.ctx: a context is an ONNX file; give a name that ends in .onnx.
    """
    path, out = Path(qdq_model), Path(out)
    _refuse(path, out)
    device, needed = qnn()
    used = provider_options(options, needed)
    if needed:
        refuse_another(used)
    told = {k: v for k, v in used.items() if k in options or k != "backend_path"}  # not where this machine has it
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        _compile(path, Path(work) / out.name, embed, qnn_options(device, used, whole=True), options)
        hexagon = {name: value for name, value in used.items() if name in ("soc_model", "htp_arch")}
        context.write_manifest(Path(work) / out.name, path, hexagon or {"device": "this NPU"}, told)
        for file in sorted(Path(work).iterdir(), key=lambda f: f.suffix == ".onnx"):  # the shell last
            os.replace(file, out.with_name(file.name))
    return out


def _refuse(path: Path, out: Path) -> None:
    """Raise ValueError for what cannot be compiled, and for a name under which something else would be lost."""
    if out.suffix != ".onnx":
        raise ValueError(f"{out}: a context is an ONNX file; give a name that ends in .onnx.")
    if path.is_file() and context.is_context(path):
        raise ValueError(f"{path}: compiled already; give the QDQ model that it was made from.")
    if not Model.of(path).is_quantized:
        raise ValueError(
            f"{path}: not quantized (it has no QDQ nodes), so the HTP would compute it in float16; "
            "quantize it first with `python -m helpers quantize`."
        )
    made = [out, context.manifest(out), out.with_name(f"{out.stem}_qnn.bin")]
    refuse_overwrite(made, [path, path.with_name("ranges.json")])
    context.refuse_foreign(out)


def _compile(path: Path, made: Path, embed: bool, session_options: ort.SessionOptions, asked: dict[str, Any]) -> None:
    """Write the context `made`; where that fails, raise as a session with the options `asked` for does."""
    for key, value in {"enable": "1", "embed_mode": str(int(embed)), "file_path": str(made)}.items():
        session_options.add_session_config_entry(f"ep.context_{key}", value)
    try:
        with quiet_stdout():
            open_session(path, session_options, enable_fallback=0)
    except (RuntimeError, ValueError):
        load(path, "htp", **asked)  # names the node
        raise
