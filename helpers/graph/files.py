"""Files in and out: ONNX read with the checks that every chapter needs, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import onnx


def read_model(path) -> onnx.ModelProto:
    """Read an ONNX file whose inputs are all static; raises FileNotFoundError or ValueError otherwise.

    External data is read from the model's own folder alone.

    >>> from helpers import assets
    >>> read_model(assets.model()).graph.input[0].name
    'images'
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of an ONNX model.")
    try:
        model = onnx.load(path)
    except onnx.checker.ValidationError as e:  # onnx before 1.21 read any file that a model named: CVE-2026-34445
        text = " ".join(str(e).split()).rstrip(".")
        raise ValueError(
            f"{path}: its weights in other files cannot be read ({text}); put those files into the model's folder."
        ) from None
    except Exception:
        model = onnx.ModelProto()
    if not model.graph.node:
        raise ValueError(f"{path}: not an ONNX model; give a file that was exported as .onnx.")
    stored = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in stored and any(d.dim_value <= 0 for d in dims):
            shape = "×".join(str(d.dim_value or d.dim_param or "?") for d in dims)
            raise ValueError(
                f"{path}: input '{value.name}' has a dynamic shape ({shape}), which the HTP cannot compile; "
                "export it with fixed sizes, such as 1×3×640×640."
            )
    return model


def save_model(model: onnx.ModelProto, path) -> Path:
    """Check `model` and write it to `path` in one step, so that no half-written file is ever found there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        onnx.checker.check_model(model)
        onnx.save(model, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def save_json(record: dict, path) -> Path:
    """Write `record` to `path` as JSON in one step.

    >>> save_json({"a": 1}, getfixture("tmp_path") / "a.json").read_text()
    '{\\n "a": 1\\n}'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(record, indent=1), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def refuse_overwrite(written, read) -> None:
    """Raise ValueError where a path to be written is a file that is read, also through a link or another spelling.

    >>> path = save_json({"a": 1}, getfixture("tmp_path") / "a.json")
    >>> refuse_overwrite([path.parent / "." / "a.json"], [path])
    Traceback (most recent call last):
    ValueError: ...a.json: is read here and would be written over; choose another place for what is written.
    """
    for out in (Path(path) for path in written if Path(path).exists()):
        if any(out.samefile(source) for source in map(Path, read) if source.exists()):
            raise ValueError(
                f"{out}: is read here and would be written over; choose another place for what is written."
            )


def sha256(path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
