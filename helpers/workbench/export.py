"""What an experiment hands over: the QDQ model, its ranges, overrides for ONNX Runtime, a context; and its sessions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from helpers import targets
from helpers.graph import list_qparams, save_json, save_model
from helpers.workbench.experiment import Experiment

QUANT_TYPES = {"uint8": "QUInt8", "uint16": "QUInt16"}


def model(bench: Experiment, path) -> Path:
    """Write the QDQ model with the settings as they are."""
    return save_model(bench.live.proto, bench.writable(path))


def ranges(bench: Experiment, path) -> Path:
    """Write the ranges as `python -m helpers quantize` writes its ranges.json, and what goes beside them."""
    found = {
        t: list(bench.live.ranges[representative])
        for representative, group in bench.live.shared_scale.items()
        for t in group
    }
    record = {
        "model": bench.model.name,
        "method": "workbench",
        "activation": "uint8",
        "calibrated_on": [p.name for p in bench.calibration],
        "a16": sorted(t for representative in bench.live.a16 for t in bench.live.shared_scale[representative]),
        "per_channel": bench.live.per_channel,
        "changed_by_hand": sorted(bench.settings["ranges"]),
        "ranges": found,
    }
    return save_json(record, bench.writable(path))


def overrides(bench: Experiment, path) -> Path:
    """Write ONNX Runtime's `TensorQuantOverrides` as JSON: {tensor: [{"quant_type", "scale", "zero_point"}]}.

    Its types are no JSON: `read_overrides` turns them into ONNX Runtime's. Source: ONNX Runtime, "Quantize ONNX
    models", extra option TensorQuantOverrides.
    """
    found, params = {}, list_qparams(bench.live.proto)
    for tensor in (t for group in bench.live.shared_scale.values() for t in group):
        qp = params[tensor]
        found[tensor] = [{"quant_type": QUANT_TYPES[qp.dtype], "scale": qp.scale, "zero_point": qp.zero_point}]
    return save_json(found, bench.writable(path))


def read_overrides(path) -> dict[str, list[dict]]:
    """Overrides as ONNX Runtime's quantizers take them: `get_qnn_qdq_config(…, init_overrides=read_overrides(path))`.

    Raises FileNotFoundError, or ValueError for a file that `overrides` did not write.
    """
    from onnxruntime.quantization import QuantType  # imported here: it takes a second

    dtypes, found = {v: k for k, v in QUANT_TYPES.items()}, {}
    try:
        for tensor, [one] in json.loads(Path(path).read_text(encoding="utf-8")).items():
            kind, zero = one["quant_type"], np.array(one["zero_point"], dtypes[one["quant_type"]])
            found[tensor] = [
                {"quant_type": QuantType[kind], "scale": np.array(one["scale"], np.float32), "zero_point": zero}
            ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: no overrides; give a file that `export.overrides` wrote.") from None
    return found


def context(bench: Experiment, path) -> Path:
    """Compile the model as it is set for this machine's NPU or, in the emulator, for Snapdragon X Elite.

    The QDQ model goes beside it, as <name>_qdq.onnx. Raises as `targets.compile_context` does, RuntimeError with
    one sentence where there is no HTP.
    """
    path = bench.writable(path)
    targets.qnn()  # refuse before anything is written
    return targets.compile_context(model(bench, path.with_name(f"{path.stem}_qdq.onnx")), path)


def save_session(bench: Experiment, path) -> Path:
    """Write settings, settings kept and history as JSON, to go on another day; and the model's SHA-256."""
    record = {"model": bench.model.name, "sha256": bench.sha256, "pictures": [p.name for p in bench.pictures]}
    record |= {"start": bench.start, "settings": bench.settings, "kept": bench.kept, "history": bench.history}
    return save_json(record, bench.writable(path))


def load_session(bench: Experiment, path) -> None:
    """Let a bench go on with what `save_session` wrote.

    Raises FileNotFoundError, or ValueError for another model's session, other pictures', or none at all.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        model, sha, pictures = (record.pop(k) for k in ("model", "sha256", "pictures"))
        record = {k: record[k] for k in ("start", "settings", "kept", "history")}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a session of the workbench; give a file that it saved.") from None
    if sha != bench.sha256:
        here = f"here is {bench.model.name} (SHA-256 {bench.sha256[:8]}…)"
        raise ValueError(f"{path}: a session of {model} (SHA-256 {sha[:8]}…), {here}; open it on that model.")
    if pictures != [p.name for p in bench.pictures]:
        raise ValueError(f"{path}: a session judged on other pictures ({', '.join(pictures[:3])} …); load those.")
    bench.resume(**record, what=f"{Path(path).name} loaded")
