"""A compiled context and its manifest: what it was made from and for, and the SHA-256 the backend never asks for."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import onnx

from helpers.graph import StrPath, save_json, sha256
from helpers.targets.provider import HEXAGON, hexagon


def is_context(path: StrPath) -> bool:
    """Whether an ONNX file is a shell around a compiled context: it has an EPContext node.

    >>> from helpers import assets
    >>> is_context(assets.model())
    False
    """
    try:
        return any(n.op_type == "EPContext" for n in onnx.load(path, load_external_data=False).graph.node)
    except Exception:
        return False  # not a model at all: whoever opens it says so


def manifest(path: StrPath) -> Path:
    """Where the manifest of a context lies: beside it, with .json for .onnx."""
    return Path(path).with_suffix(".json")


def write_manifest(path: Path, source: Path, built_for: dict[str, str], options: dict[str, str]) -> Path:
    """The manifest of the context `path`, made from `source` for a Hexagon with these options of the provider."""
    files = sorted(f for f in path.parent.iterdir() if f.name.startswith(path.stem) and f.suffix in (".onnx", ".bin"))
    record = {
        "files": {f.name: sha256(f) for f in files},
        "source": {"name": source.name, "sha256": sha256(source)},
        "ranges": ranges_beside(source),
        **built_for,
        "options": options,
        **{name: importlib.metadata.version(name) for name in ("onnxruntime", "onnxruntime-qnn")},
    }
    return save_json(record, manifest(path))


def refuse_foreign(path: Path) -> None:
    """Raise ValueError where writing a context to `path` would lose a file that is no context, or not of one.

    >>> path = save_json({}, getfixture("tmp_path") / "a.json").with_suffix(".onnx")
    >>> refuse_foreign(path)
    Traceback (most recent call last):
    ValueError: ...a.json: exists and is no manifest, which goes there; give another name for the context.
    """
    paper = manifest(path)
    binary = path.with_name(f"{path.stem}_qnn.bin")
    if path.exists() and not is_context(path):
        raise ValueError(f"{path}: exists and is no compiled context; give another name for the context.")
    if binary.exists() and not path.exists():
        raise ValueError(f"{binary}: exists and is no context's binary, which goes there; give another name.")
    if paper.exists() and not _is_manifest(paper):
        raise ValueError(f"{paper}: exists and is no manifest, which goes there; give another name for the context.")


def _is_manifest(paper: Path) -> bool:
    try:
        return {"files", "source"} <= set(json.loads(paper.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False


def ranges_beside(model: StrPath) -> str:
    """Where the ranges of a QDQ model came from, as the `ranges.json` beside it says; "unknown" without one.

    >>> path = save_json({"method": "mse", "calibrated_on": ["a.png"]}, getfixture("tmp_path") / "ranges.json")
    >>> ranges_beside(path.with_name("int8.onnx"))
    'mse, 1 pictures'
    """
    try:
        found = json.loads(Path(model).with_name("ranges.json").read_text(encoding="utf-8"))
        return f"{found['method']}, {len(found['calibrated_on'])} pictures"
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def built_for(record: dict[str, Any]) -> dict[str, str]:
    """The provider options in a manifest that name the Hexagon; {} where a real NPU compiled for itself.

    >>> built_for({"soc_model": "60", "htp_arch": "73", "options": {"vtcm_mb": "4", "profiling_level": "off"}})
    {'soc_model': '60', 'htp_arch': '73', 'vtcm_mb': '4'}
    """
    told = {**record.get("options", {}), **record}
    return {name: told[name] for name in HEXAGON if name in told}


def fit(path: StrPath, options: dict[str, str]) -> dict[str, str]:
    """Check a context's files and return `options` with the VTCM that it was compiled for.

    Raises ValueError where it was compiled for another Hexagon: the backend would run it, as that one. A session on a
    real NPU names none, and is not compared.
    """
    made = built_for(verify_manifest(path))
    if "soc_model" not in options:
        return options
    if any(made.get(name) != options[name] for name in HEXAGON if name in options):
        raise ValueError(
            f"{path}: compiled for {hexagon(made)}, and this session is for {hexagon(options)}; "
            "give the options that it was compiled with, or compile it again."
        )
    return options | made


def verify_manifest(path: StrPath) -> dict[str, Any]:
    """The manifest's record, once every file's SHA-256 is found to match.

    Raises ValueError where one does not, and where there is no manifest.

    >>> verify_manifest("nowhere.onnx")
    Traceback (most recent call last):
    ValueError: nowhere.onnx: a compiled context without its manifest nowhere.json; compile it again with ...
    """
    path, paper = Path(path), manifest(path)
    again = "compile it again with `python -m helpers compile`."
    try:
        record = json.loads(paper.read_text(encoding="utf-8"))
        files = dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: a compiled context without its manifest {paper.name}; {again}") from None
    for name in {path.name: None} | files:
        file = path.parent / name
        if not file.is_file() or sha256(file) != files.get(name):
            raise ValueError(f"{file}: not the file that was compiled (its SHA-256 differs); {again}")
    return record
