"""Models and pictures, wherever they are: data/'s own by default, real ones where the user has them."""

from __future__ import annotations

import functools
import os
import warnings
from collections import Counter
from pathlib import Path

from helpers.assets import places
from helpers.assets.export import UntrustedPickle, _export, _made, _sha256

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
BESIDE = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".cache"}  # labels and notes: not worth a word


def _folders() -> list[Path]:
    named = os.environ.get(places.VARIABLE)
    return [] if named == "" else [*([Path(named).expanduser()] if named else []), places.CACHE]


def _missing(name: str, what: str, serves: str) -> FileNotFoundError:
    variable = places.VARIABLE
    return FileNotFoundError(
        f"{what} '{name}' is neither a path nor in {variable}'s folder nor in data/cache; "
        f"set {variable} to the folder that holds it or run `python -m helpers fetch {name}` (needs the network); "
        f"meanwhile {serves} serves."
    )


def find(name) -> Path:
    """Path of the model that `model(name)` gives, without loading anything: a `.pt` itself where it is not ONNX yet.

    Raises FileNotFoundError that says how to get it.

    >>> find(places.DATA / "scenes.onnx").name
    'scenes.onnx'
    """
    path = Path(name)
    if not path.is_file():
        stem = path.stem if path.suffix in (".onnx", ".pt") else path.name
        candidates = (f / (stem + suffix) for f in _folders() for suffix in (".onnx", ".pt"))
        path = next((c for c in candidates if path.parent == Path(".") and c.is_file()), None)
        if path is None:
            raise _missing(name, "model", "data/scenes.onnx, `assets.model()`,")
    made = _made(path, _sha256(path)) if path.suffix == ".pt" else path
    return made if made.is_file() else path


def model(name=None, trust_pickle: bool = False) -> Path:
    """Path of an ONNX model: a path given, `yolov8n` where the user has it, or data/'s own (name None).

    Looked for in this order: the path itself, the folder named by INT8_ASSETS, data/cache. A `.pt` becomes
    ONNX once (static 1×3×640×640, opset 17, simplified) and is kept in data/cache; that needs the `yolo` extra.
    Loading a `.pt` runs whatever code its maker put in it: only known ones are, or any with `trust_pickle`.

    Raises FileNotFoundError that says how to get it, UntrustedPickle, ImportError where the extra is missing.

    >>> model().name
    'scenes.onnx'
    """
    path = places.DATA / "scenes.onnx" if name is None else find(name)
    return _export(path, trust_pickle) if path.suffix == ".pt" else path


def images(name=None) -> list[Path]:
    """Pictures, sorted by name: of a folder given, of `coco128` where the user has it, or data/'s own.

    None or "calibration" are data/'s calibration scenes, "validation" its validation scenes; the two do not overlap.
    Of a folder, subfolders count too; a warning counts the files that are neither pictures nor labels.
    Raises FileNotFoundError (no such folder, or no pictures in it) that says what to do.

    >>> len(set(images("calibration")) & set(images("validation")))
    0
    """
    name = "calibration" if name is None else name
    if name in ("calibration", "validation"):
        return _pictures(places.DATA / name / "images")
    if Path(name).is_file():
        return [Path(name)]
    if Path(name).is_dir():
        return _pictures(Path(name))
    for folder in _folders():
        if Path(name).parent == Path(".") and (folder / name).is_dir():
            return _pictures(folder / name)
    raise _missing(name, "picture folder", "data/'s scenes, `assets.images()`,")


def _pictures(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    found = [p for p in files if p.suffix.lower() in PICTURES]
    told = passed_over(files)
    if not found:
        raise FileNotFoundError(
            f"{folder}: holds no pictures{f' ({told})' if told else ''}; put .jpg or .png files there or name "
            "another folder."
        )
    if told:
        warnings.warn(f"{folder}: {told} passed over; {len(found)} pictures are read.", stacklevel=3)
    return found


def passed_over(files) -> str:
    """The files that are neither pictures nor what usually lies beside them, counted by suffix.

    >>> passed_over([Path("a.jpg"), Path("b.npy"), Path("c.npy"), Path("c.txt"), Path(".DS_Store"), Path("d.GIF")])
    '2 × .npy, 1 × .gif'
    """
    other = [p for p in files if p.suffix.lower() not in PICTURES | BESIDE]
    other = [p for p in other if not p.name.startswith(".") and p.name not in ("README", "LICENSE")]
    counts = Counter(p.suffix.lower() or "without suffix" for p in other)
    return ", ".join(f"{n} × {suffix}" for suffix, n in counts.most_common())


def course() -> tuple[Path, list[Path], list[Path]]:
    """What the notebooks run on: `(model, calibration pictures, judging pictures)`, which never overlap.

    YOLOv8n on COCO128 (half to calibrate, half to judge) where both are found, else data/'s model and scenes. One
    printed line says which serve, and why where they are not the real ones; once a process.
    """
    found, missing = {}, {}
    for name, find in (("yolov8n", model), ("coco128", images)):
        try:
            found[name] = find(name)
        except (FileNotFoundError, ImportError, UntrustedPickle) as e:
            missing[name] = e
    if missing:
        _say(f"course: data/scenes.onnx and data/'s own scenes serve, since {_why(found, missing)}.")
        return model(), images("calibration"), images("validation")
    pictures, half = found["coco128"], len(found["coco128"]) // 2
    counts = f"{len(pictures) - half} pictures to calibrate, {half} to judge"
    _say(f"course: {found['yolov8n']} serves, with COCO128, {counts}.")
    return found["yolov8n"], pictures[half:], pictures[:half]


def _why(found: dict, missing: dict) -> str:
    """Why the real model and pictures do not serve."""
    reason = missing.get("yolov8n", missing.get("coco128"))
    if os.environ.get(places.VARIABLE) == "":
        return f"{places.VARIABLE} is empty"
    if isinstance(reason, ImportError):
        return "yolov8n.pt is there but the extra `yolo`, which makes ONNX of it, is not installed"
    if isinstance(reason, UntrustedPickle):
        return "yolov8n.pt is there but its SHA-256 is not one that we know, so it is not loaded (see `assets.model`)"
    if not isinstance(reason, FileNotFoundError):
        return f"yolov8n is there but {str(reason).rstrip('.')}"
    where = f"{places.VARIABLE}'s folder or data/cache"
    if found:
        return f"{min(found)} is there but {min(missing)} is not in {where}"
    return f"neither yolov8n nor coco128 is in {where}"


@functools.cache
def _say(line: str) -> None:
    """Print a line, once a process."""
    print(line)
