"""Files in and out: ONNX read with the checks that every chapter needs, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx

StrPath = str | os.PathLike[str]
LARGEST = 2**31 - 2**20  # bytes of stored tensors that one file takes, with room for the graph
BESIDE = 1024  # bytes from which on a stored tensor of a large model lies beside it; smaller ones may shape the graph


def read_model(path: StrPath, *, static: bool = True) -> onnx.ModelProto:
    """Read an ONNX file, one whose inputs are all `static` unless that is off.

    External data is read from the model's own folder alone. Raises FileNotFoundError where no file is, ValueError for
    what is no ONNX model, for weights that cannot be read and for an input of dynamic shape.

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
        text = f"cannot be read ({' '.join(str(e).split()).rstrip('.')}); put those files into the model's folder"
        raise ValueError(f"{path}: its weights in other files {text}.") from None
    except Exception:
        model = onnx.ModelProto()
    if not model.graph.node:
        raise ValueError(f"{path}: not an ONNX model; give a file that was exported as .onnx.")
    stored = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if static and value.name not in stored and not value.type.tensor_type.HasField("shape"):
            text = f"which the HTP cannot compile; give it one with `quantize … --shape {value.name}=…`"
            raise ValueError(f"{path}: input '{value.name}' has no shape, not even its number of axes, {text}.")
        if static and value.name not in stored and any(d.dim_value <= 0 for d in dims):
            text = f"which the HTP cannot compile; `quantize … --shape {value.name}=…` or `qdq.prepare` fixes its sizes"
            raise ValueError(f"{path}: input '{value.name}' has a dynamic shape ({size_text(dims)}), {text}.")
    return model


def size_text(dims: Iterable[onnx.TensorShapeProto.Dimension]) -> str:
    """A shape as a message shows it, sizes that are not fixed by their name.

    >>> size_text(onnx.helper.make_tensor_value_info("x", 1, ["batch", 3, None]).type.tensor_type.shape.dim)
    'batch×3×?'
    """
    return "×".join(str(d.dim_value) if d.dim_value > 0 else d.dim_param or "?" for d in dims)


@contextlib.contextmanager
def written_whole(path: StrPath) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` at the end of the `with`, and is gone where that fails.

    >>> path = getfixture("tmp_path") / "a.txt"
    >>> with written_whole(path) as part:
    ...     _ = part.write_text("all of it")
    >>> path.read_text(), part.exists()
    ('all of it', False)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_model(model: onnx.ModelProto, path: StrPath) -> Path:
    """Check `model` and write it to `path`, whole or not at all; raises onnx.checker.ValidationError for a bad graph.

    >>> from helpers import assets
    >>> save_model(read_model(assets.model()), getfixture("tmp_path") / "copy.onnx").name
    'copy.onnx'
    """
    if is_large(model):
        return _save_large(model, Path(path))
    with written_whole(path) as part:
        onnx.checker.check_model(model)
        onnx.save(model, part)
    return Path(path)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the stored tensors are more than one file of protobuf can hold, 2 GiB."""
    return sum(map(bytes_of, model.graph.initializer)) > LARGEST


def bytes_of(tensor: onnx.TensorProto) -> int:
    """What a stored tensor takes as an array.

    >>> import numpy as np
    >>> bytes_of(onnx.numpy_helper.from_array(np.zeros((2, 3), np.float32)))
    24
    """
    return math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _save_large(model: onnx.ModelProto, path: Path) -> Path:
    """As `save_model`, with the stored tensors in `path`.data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        part = write_large(model, Path(work) / path.name)
        onnx.checker.check_model(part)
        for made in sorted(Path(work).iterdir(), reverse=True):  # the graph last
            os.replace(made, path.with_name(made.name))
    return path


def write_large(model: onnx.ModelProto, path: Path) -> Path:
    """Write a graph to `path` and its stored tensors to `path`.data, unchecked; the proto is as before in the end."""
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=BESIDE)
    onnx.load_external_data_for_model(model, str(path.parent))  # saving emptied them
    return path


def save_json(record: dict[str, Any], path: StrPath) -> Path:
    """Write `record` to `path` as JSON, whole or not at all; raises TypeError for what JSON does not know.

    >>> save_json({"a": 1}, getfixture("tmp_path") / "a.json").read_text()
    '{\\n "a": 1\\n}'
    """
    with written_whole(path) as part:
        part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return Path(path)


def refuse_overwrite(written: Iterable[StrPath], read: Iterable[StrPath]) -> None:
    """Raise ValueError where a path to be written is a file that is read, also through a link or another spelling.

    >>> path = save_json({"a": 1}, getfixture("tmp_path") / "a.json")
    >>> refuse_overwrite([path.parent / "." / "a.json"], [path])
    Traceback (most recent call last):
    ValueError: ...a.json: is read here and would be written over; choose another place for what is written.
    """
    sources = [Path(path) for path in read if Path(path).exists()]
    for out in (Path(path) for path in written if Path(path).exists()):
        if any(map(out.samefile, sources)):
            text = "is read here and would be written over; choose another place for what is written"
            raise ValueError(f"{out}: {text}.")


def sha256(path: StrPath) -> str:
    """SHA-256 of a file, in hexadecimal; raises FileNotFoundError where no file is.

    >>> sha256(save_json({}, getfixture("tmp_path") / "a.json"))[:8]
    '44136fa3'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
