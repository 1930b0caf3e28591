"""What an experiment hands over: the QDQ model, its ranges, overrides for ONNX Runtime, a context; and its sessions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from helpers import targets
from helpers.graph import list_qparams, save_json, save_model
from helpers.workbench.experiment import Experiment
from helpers.workbench.report import save_page

QUANT_TYPES = {"uint8": "QUInt8", "uint16": "QUInt16"}


def model(experiment: Experiment, path: str | Path) -> Path:
    """Write the QDQ model with the settings as they are."""
    return save_model(experiment.patched.proto, experiment.writable(path))


def ranges(experiment: Experiment, path: str | Path) -> Path:
    """Write the ranges as `python -m helpers quantize` writes its ranges.json, and what goes beside them."""
    patched = experiment.patched
    record = {
        "model": experiment.model.name,
        "method": "workbench",
        "activation": "uint8",
        "calibrated_on": [p.name for p in experiment.calibration],
        "a16": sorted(patched.members(patched.a16)),
        "weight": patched.weight,
        "per_channel": patched.per_channel,
        "changed_by_hand": sorted(experiment.settings["ranges"]),
        "ranges": {t: list(r) for t, r in patched.every(patched.ranges).items()},
    }
    return save_json(record, experiment.writable(path))


def overrides(experiment: Experiment, path: str | Path) -> Path:
    """Write ONNX Runtime's `TensorQuantOverrides` as JSON: {tensor: [{"quant_type", "scale", "zero_point"}]}.

    Its types are no JSON: `read_overrides` turns them into ONNX Runtime's. Source: ONNX Runtime, "Quantize ONNX
    models", extra option TensorQuantOverrides.
    """
    found, params = {}, list_qparams(experiment.patched.proto)
    for tensor in experiment.patched.members(experiment.patched.shared_scale):
        qp = params[tensor]
        found[tensor] = [{"quant_type": QUANT_TYPES[qp.dtype], "scale": qp.scale, "zero_point": qp.zero_point}]
    return save_json(found, experiment.writable(path))


def read_overrides(path: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Overrides as ONNX Runtime's quantizers take them: `get_qnn_qdq_config(…, init_overrides=read_overrides(path))`.

    Raises FileNotFoundError, or ValueError for a file that `overrides` did not write.
    """
    from onnxruntime.quantization import QuantType  # imported here: it takes a second

    dtypes = {name: dtype for dtype, name in QUANT_TYPES.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for tensor, [one] in json.loads(Path(path).read_text(encoding="utf-8")).items():
            kind, zero = one["quant_type"], np.array(one["zero_point"], dtypes[one["quant_type"]])
            found[tensor] = [
                {"quant_type": QuantType[kind], "scale": np.array(one["scale"], np.float32), "zero_point": zero}
            ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: no overrides; give a file that `export.overrides` wrote.") from None
    return found


def context(experiment: Experiment, path: str | Path) -> Path:
    """Compile the model as it is set for this machine's NPU or, in the emulator, for Snapdragon X Elite.

    The QDQ model goes beside it, as <name>_qdq.onnx. Raises as `targets.compile_context` does, RuntimeError with
    one sentence where there is no HTP.
    """
    path = experiment.writable(path)
    targets.qnn()  # refuse before anything is written
    return targets.compile_context(model(experiment, path.with_name(f"{path.stem}_qdq.onnx")), path)


def save_session(experiment: Experiment, path: str | Path) -> Path:
    """Write settings, settings kept and history as JSON, to go on another day; and the model's SHA-256."""
    record = {
        "model": experiment.model.name,
        "sha256": experiment.sha256,
        "pictures": [p.name for p in experiment.inputs],
        "start": experiment.start,
        "settings": experiment.settings,
        "kept": experiment.kept,
        "history": experiment.history,
    }
    return save_json(record, experiment.writable(path))


def load_session(experiment: Experiment, path: str | Path) -> str:
    """Let an experiment go on with what `save_session` wrote; returns what that is in one line.

    Raises FileNotFoundError, or ValueError for another model's session, other inputs', or none at all.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        model, sha, inputs = (record[k] for k in ("model", "sha256", "pictures"))
        record = {k: record[k] for k in ("start", "settings", "kept", "history")}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a session of the workbench; give a file that it saved.") from None
    if sha != experiment.sha256:
        here = f"here is {experiment.model.name} (SHA-256 {experiment.sha256[:8]}…)"
        raise ValueError(f"{path}: a session of {model} (SHA-256 {sha[:8]}…), {here}; open it on that model.")
    if inputs != [p.name for p in experiment.inputs]:
        other = f"other {experiment.task.words.inputs} ({', '.join(inputs[:3])} …)"
        raise ValueError(f"{path}: a session judged on {other}; load those.")
    experiment.resume(**record, what=f"{Path(path).name} loaded")
    kept = ", ".join(sorted(experiment.kept)) or "nothing"
    return f"{path}, {len(record['history'])} steps of history, kept: {kept}; changed:"


EXPORTS = {  # what can be written: where to by default, and the function
    "QDQ model": ("out/int8.onnx", model),
    "ranges": ("out/ranges.json", ranges),
    "TensorQuantOverrides for ONNX Runtime": ("out/overrides.json", overrides),
    "report, one page": ("out/report.png", save_page),
    "context for Snapdragon X Elite": ("out/int8_htp.onnx", context),
    "this session": ("out/session.json", save_session),
}
