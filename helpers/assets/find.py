"""Models and images, wherever they are: data/'s own by default, real ones where the user has them."""

from __future__ import annotations

import functools
import os
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from helpers.assets import places
from helpers.assets.export import UntrustedPickle, export, exported

StrPath = str | os.PathLike[str]
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
BESIDE = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".cache"}  # labels and notes: not worth a word


def find(name: StrPath) -> Path:
    """Path of the model that `model(name)` gives, without loading anything: a `.pt` itself where it is not ONNX yet.

    Raises FileNotFoundError that says how to get it.

    >>> find(places.DATA / "scenes.onnx").name
    'scenes.onnx'
    """
    path = Path(name)
    if not path.is_file():
        path = _among_folders(path)
    if path.suffix != ".pt":
        return path
    onnx = exported(path)
    return onnx if onnx.is_file() else path


def _among_folders(name: Path) -> Path:
    """`name`.onnx, or else `name`.pt, in the folders where the user keeps them."""
    stem = name.stem if name.suffix in (".onnx", ".pt") else name.name
    for candidate in (folder / (stem + suffix) for folder in _folders(name) for suffix in (".onnx", ".pt")):
        if candidate.is_file():
            return candidate
    raise _missing(name, "model", "data/scenes.onnx, `assets.model()`,")


def _folders(name: Path) -> list[Path]:
    """Where a name without a folder is looked for: the folder that the variable names, the cache, and data/ itself."""
    named = os.environ.get(places.VARIABLE)
    if name.parent != Path("."):
        return []
    own = [places.DATA] if named == "" else [places.CACHE, places.DATA]
    return [Path(named).expanduser(), *own] if named else own


def _missing(name: StrPath, what: str, serves: str) -> FileNotFoundError:
    variable = places.VARIABLE
    return FileNotFoundError(
        f"{what} '{name}' is neither a path nor in {variable}'s folder nor in {places.CACHE_NAME}; "
        f"set {variable} to the folder that holds it or run `python -m helpers fetch {name}` (needs the network); "
        f"meanwhile {serves} serves."
    )


def model(name: StrPath | None = None, trust_pickle: bool = False) -> Path:
    """Path of an ONNX model: a path given, `yolov8n` where the user has it, or data/'s own (name None: its detector).

    Looked for in this order: the path itself, the folder named by INT8_ASSETS, the cache, data/, which has
    `shapes_classifier`, `shapes_segmenter` and `shapes_attention` besides. A `.pt` becomes ONNX once
    (the extra `yolo`); loading one runs whatever code its maker put in it, so only known ones are, or any with
    `trust_pickle`.

    Raises FileNotFoundError that says how to get it, UntrustedPickle, ImportError where the extra is missing.

    >>> model().name, model("shapes_classifier").name
    ('scenes.onnx', 'shapes_classifier.onnx')
    """
    path = places.DATA / "scenes.onnx" if name is None else find(name)
    return export(path, trust_pickle) if path.suffix == ".pt" else path


def images(name: StrPath | None = None) -> list[Path]:
    """Image files, sorted by name: of a folder given, of `coco128` where the user has it, or data/'s own.

    None or "calibration" are data/'s calibration scenes, "validation" its validation scenes; the two do not overlap.
    Any other folder of data/ goes by its path there: "classification/validation", "segmentation/calibration/images".
    Of a folder, subfolders count too; a warning counts the files that are neither images nor labels.
    Raises FileNotFoundError (no such folder, or no images in it) that says what to do.

    >>> len(set(images("calibration")) & set(images("validation")))
    0
    """
    if name is None or name in ("calibration", "validation"):
        return _images_of(places.DATA / (name or "calibration") / "images")
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _images_of(path)
    for folder in (*_folders(path), places.DATA):
        if (folder / path).is_dir():
            return _images_of(folder / path)
    raise _missing(name, "picture folder", "data/'s scenes, `assets.images()`,")


def crowded_scene() -> Path:
    """The validation scene that runs through the course: of the first 64 the one that 4-bit weights hurt most.

    Rounded to nearest they make 21 boxes of FP32's 14. Source: tests/benchmarks/stages.py.

    >>> crowded_scene().name
    '2000026.jpg'
    """
    return places.DATA / "validation" / "images" / "2000026.jpg"


def passed_over(files: Iterable[Path]) -> str:
    """The files that are neither images nor what usually lies beside them, counted by suffix."""
    other = [p for p in files if p.suffix.lower() not in IMAGES | BESIDE]
    other = [p for p in other if not p.name.startswith(".") and p.name not in ("README", "LICENSE")]
    counts = Counter(p.suffix.lower() or "without suffix" for p in other)
    return ", ".join(f"{n} × {suffix}" for suffix, n in counts.most_common())


def _images_of(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    found = [p for p in files if p.suffix.lower() in IMAGES]
    told = passed_over(files)
    if not found:
        why = f" ({told})" if told else ""
        raise FileNotFoundError(
            f"{folder}: holds no pictures{why}; put .jpg or .png files there or name another folder."
        )
    if told:
        warnings.warn(f"{folder}: {told} passed over; {len(found)} pictures are read.", stacklevel=3)
    return found


def course() -> tuple[Path, list[Path], list[Path]]:
    """What the notebooks run on: `(model, calibration pictures, judging pictures)`, which never overlap.

    YOLOv8n on COCO128 (half to calibrate, half to judge) where both are found, else data/'s model and scenes. One
    printed line says which serve, and why where they are not the real ones; once a process.
    """
    missing: dict[str, Exception] = {}
    network, pictures = None, None
    try:
        network = model("yolov8n")
    except (FileNotFoundError, ImportError, UntrustedPickle) as e:
        missing["yolov8n"] = e
    try:
        pictures = images("coco128")
    except FileNotFoundError as e:
        missing["coco128"] = e
    if network is None or pictures is None:
        _say(f"course: data/scenes.onnx and data/'s own scenes serve, since {_why(missing)}.")
        return model(), images("calibration"), images("validation")
    half = len(pictures) // 2
    counts = f"{len(pictures) - half} pictures to calibrate, {half} to judge"
    _say(f"course: {network} serves, with COCO128, {counts}.")
    return network, pictures[half:], pictures[:half]


def _why(missing: dict[str, Exception]) -> str:
    """Why the real model and images do not serve, from what was raised for each."""
    reason = missing.get("yolov8n", missing.get("coco128"))
    if os.environ.get(places.VARIABLE) == "":
        return f"{places.VARIABLE} is empty"
    if isinstance(reason, ImportError):
        return "yolov8n.pt is there but the extra `yolo`, which makes ONNX of it, is not installed"
    if isinstance(reason, UntrustedPickle):
        return "yolov8n.pt is there but its SHA-256 is not one that we know, so it is not loaded (see `assets.model`)"
    if not isinstance(reason, FileNotFoundError):
        return f"yolov8n is there but {str(reason).rstrip('.')}"
    where = f"{places.VARIABLE}'s folder or {places.CACHE_NAME}"
    if len(missing) == 2:
        return f"neither yolov8n nor coco128 is in {where}"
    lacks, there = ("yolov8n", "coco128") if "yolov8n" in missing else ("coco128", "yolov8n")
    return f"{there} is there but {lacks} is not in {where}"


@functools.cache
def _say(line: str) -> None:
    """Print a line, once a process."""
    print(line)
