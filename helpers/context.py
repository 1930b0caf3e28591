"""The passport of a compiled context: what it was made from and for, and the SHA-256 the backend never asks for."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path

import onnx


def sha256(path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_context(path) -> bool:
    """Whether an ONNX file is a shell around a compiled context: it has an EPContext node."""
    try:
        return any(n.op_type == "EPContext" for n in onnx.load(path, load_external_data=False).graph.node)
    except Exception:
        return False  # not a model at all: whoever opens it says so


def passport(path) -> Path:
    """Where the passport of a context lies: beside it, with .json for .onnx."""
    return Path(path).with_suffix(".json")


def seal(path, source, ranges: str, **built_for) -> Path:
    """Write the passport of the context `path` and of all its files, made from the QDQ model `source`."""
    path, source = Path(path), Path(source)
    files = sorted(f for f in path.parent.glob(f"{path.stem}*") if f.suffix in (".onnx", ".bin"))
    record = {
        "files": {f.name: sha256(f) for f in files},
        "source": {"name": source.name, "sha256": sha256(source)},
        "ranges": ranges,
        **built_for,
        **{name: importlib.metadata.version(name) for name in ("onnxruntime", "onnxruntime-qnn")},
    }
    passport(path).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return passport(path)


def check(path) -> dict:
    """The passport's record, once every file's SHA-256 is found to match; raises ValueError where one does not."""
    path, paper = Path(path), passport(path)
    again = "compile it again with `python -m helpers compile`."
    try:
        record = json.loads(paper.read_text(encoding="utf-8"))
        files = dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: a compiled context without its passport {paper.name}; {again}") from None
    for name in {path.name: None} | files:
        file = path.parent / name
        if not file.is_file() or sha256(file) != files.get(name):
            raise ValueError(f"{file}: not the file that was compiled (its SHA-256 differs); {again}")
    return record
