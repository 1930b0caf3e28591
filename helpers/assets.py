"""Models and pictures, wherever they are: data/'s own by default, real ones where the user has them."""

from __future__ import annotations

import functools
import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from tqdm.auto import tqdm

DATA = Path(__file__).resolve().parents[1] / "data"
CACHE = DATA / "cache"
VARIABLE = "INT8_ASSETS"  # a folder with yolov8n.pt and coco128/; set but empty, only data/ is used
COCO128_URL = "https://github.com/lightly-ai/coco128_yolo/releases/download/v0.0.1/coco128_yolo.zip"
# Over its 128 train2017 pictures, then their 128 label files, each in order of name.
COCO128_SHA256 = "8709b14544b3420dd2d5b0c617c56398ef8ca060e4a0762af478f92385e49bf6"
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def _folders() -> list[Path]:
    named = os.environ.get(VARIABLE)
    return [] if named == "" else [*([Path(named).expanduser()] if named else []), CACHE]


def _digest(paths) -> str:
    """SHA-256 over whole files in the given order."""
    sha = hashlib.sha256()
    for path in paths:
        sha.update(Path(path).read_bytes())
    return sha.hexdigest()


def _missing(name: str, what: str, serves: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{what} '{name}' is neither a path nor in {VARIABLE}'s folder nor in data/cache; "
        f"set {VARIABLE} to the folder that holds it or run `python -m helpers fetch {name}` (needs the network); "
        f"meanwhile {serves} serves."
    )


def model(name=None) -> Path:
    """Path of an ONNX model: a path given, `yolov8n` where the user has it, or data/'s own (name None).

    Looked for in this order: the path itself, the folder named by INT8_ASSETS, data/cache. A `.pt` becomes
    ONNX once (static 1×3×640×640, opset 17, simplified) and is kept in data/cache; that needs the `yolo` extra.

    Raises FileNotFoundError that says how to get it, ImportError where the extra is missing.

    >>> model().name
    'scenes.onnx'
    """
    if name is None:
        return DATA / "scenes.onnx"
    path = Path(name)
    if not path.is_file():
        stem = path.stem if path.suffix in (".onnx", ".pt") else path.name
        candidates = (f / (stem + suffix) for f in _folders() for suffix in (".onnx", ".pt"))
        path = next((c for c in candidates if path.parent == Path(".") and c.is_file()), None)
        if path is None:
            raise _missing(name, "model", "data/scenes.onnx, `assets.model()`,")
    return _export(path) if path.suffix == ".pt" else path


def _ultralytics(code: str, *arguments, offline: bool) -> None:
    """Run a line of Ultralytics in a process of its own: its import patches Pillow and NumPy's printing here."""
    if importlib.util.find_spec("ultralytics") is None:
        raise ImportError(
            f"{Path(arguments[0]).name}: this needs the extra, so put `uv run --extra yolo` before the command; "
            "meanwhile data/scenes.onnx, `assets.model()`, serves."
        )
    quiet = {"YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"} | ({"YOLO_OFFLINE": "true"} if offline else {})
    command = [sys.executable, "-c", f"import sys; from ultralytics import YOLO; {code}", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"{Path(arguments[0]).name}: Ultralytics cannot use it ({reason}).")


def _export(checkpoint: Path) -> Path:
    cached = CACHE / f"{checkpoint.stem}-{_digest([checkpoint])[:8]}.onnx"
    if not cached.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:  # Ultralytics writes beside the checkpoint
            copy = Path(shutil.copyfile(checkpoint, Path(work) / checkpoint.name))
            export = "format='onnx', imgsz=640, opset=17, simplify=True, dynamic=False, batch=1"
            _ultralytics(f"YOLO(sys.argv[1]).export({export})", copy, offline=True)
            os.replace(copy.with_suffix(".onnx"), cached)
    return cached


def images(name=None) -> list[Path]:
    """Pictures, sorted by name: of a folder given, of `coco128` where the user has it, or data/'s own.

    None or "calibration" are data/'s calibration scenes, "validation" its validation scenes; the two do not overlap.
    Raises FileNotFoundError (no such folder, or no pictures in it) that says what to do.

    >>> len(set(images("calibration")) & set(images("validation")))
    0
    """
    name = "calibration" if name is None else name
    if name in ("calibration", "validation"):
        return _pictures(DATA / name / "images")
    if Path(name).is_file():
        return [Path(name)]
    if Path(name).is_dir():
        return _pictures(Path(name))
    for folder in _folders():
        if Path(name).parent == Path(".") and (folder / name).is_dir():
            return _pictures(folder / name)
    raise _missing(name, "picture folder", "data/'s scenes, `assets.images()`,")


def _pictures(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not found:
        raise FileNotFoundError(f"{folder}: holds no pictures; put .jpg or .png files there or name another folder.")
    return found


def course() -> tuple[Path, list[Path], list[Path]]:
    """What the notebooks run on: `(model, calibration pictures, judging pictures)`, which never overlap.

    YOLOv8n on COCO128 (half to calibrate, half to judge) where both are found, else data/'s model and scenes. One
    printed line says which serve, and why where they are not the real ones; once a process.
    """
    found, missing = {}, {}
    for name, find in (("yolov8n", model), ("coco128", images)):
        try:
            found[name] = find(name)
        except (FileNotFoundError, ImportError) as e:
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
    if os.environ.get(VARIABLE) == "":
        return f"{VARIABLE} is empty"
    if isinstance(reason, ImportError):
        return "yolov8n.pt is there but the extra `yolo`, which makes ONNX of it, is not installed"
    if not isinstance(reason, FileNotFoundError):
        return f"yolov8n is there but {str(reason).rstrip('.')}"
    where = f"{VARIABLE}'s folder or data/cache"
    if found:
        return f"{min(found)} is there but {min(missing)} is not in {where}"
    return f"neither yolov8n nor coco128 is in {where}"


@functools.cache
def _say(line: str) -> None:
    """Print a line, once a process."""
    print(line)


def fetch(name: str) -> Path:
    """Download `yolov8n` or `coco128` into data/cache: progress bar, resume, checksum; a failure leaves nothing.

    The weights come through the `yolo` extra (ultralytics), the pictures by URL; their SHA-256 is compared.
    Raises ValueError (unknown name, wrong checksum), ConnectionError (no network), ImportError (no extra).

    >>> fetch("imagenet")
    Traceback (most recent call last):
    ValueError: 'imagenet' cannot be fetched; choose yolov8n or coco128.
    """
    if name not in ("yolov8n", "coco128"):
        raise ValueError(f"'{name}' cannot be fetched; choose yolov8n or coco128.")
    CACHE.mkdir(parents=True, exist_ok=True)
    return _fetch_yolov8n(CACHE / "yolov8n.pt") if name == "yolov8n" else _fetch_coco128(CACHE / "coco128")


def _fetch_yolov8n(target: Path) -> Path:
    if not target.is_file():
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            try:  # Ultralytics downloads what is not there, and loading it proves it whole
                _ultralytics("YOLO(sys.argv[1])", Path(work) / target.name, offline=False)
            except ValueError as e:
                raise ConnectionError(f"not downloaded; nothing was kept: {e}") from None
            os.replace(Path(work) / target.name, target)
    return _export(target)


def _fetch_coco128(target: Path) -> Path:
    if target.is_dir():
        return target
    archive = download(COCO128_URL, CACHE / "coco128.zip")
    try:
        with tempfile.TemporaryDirectory(dir=CACHE) as work, zipfile.ZipFile(archive) as z:
            members = [m for m in z.namelist() if "/train2017/" in m and not m.endswith("/")]
            z.extractall(work, members)
            found = sorted(Path(work).rglob("*.jpg")) + sorted(Path(work).rglob("*.txt"))
            if _digest(found) != COCO128_SHA256:
                raise ValueError(f"{COCO128_URL}: not the COCO128 we know (SHA-256 differs); nothing was kept.")
            os.replace(found[0].parents[2], target)
    except zipfile.BadZipFile:
        raise ValueError(f"{COCO128_URL}: what came is not a whole zip archive; nothing was kept.") from None
    finally:
        archive.unlink(missing_ok=True)
    return target


def download(url: str, target: Path, tries: int = 3) -> Path:
    """Fetch one URL to `target` with a progress bar.

    A connection that breaks is resumed where it stopped: at once, and from its `.part` by the next call.
    Raises ConnectionError when the server refuses or the last try breaks too.
    """
    part = target.with_name(target.name + ".part")
    while True:
        try:
            _append(url, part)
            os.replace(part, target)
            return target
        except (OSError, http.client.HTTPException) as e:
            tries -= 1
            refused = isinstance(e, urllib.error.HTTPError)
            if refused or (part.is_file() and not part.stat().st_size):
                part.unlink(missing_ok=True)
            if refused or not tries:
                raise ConnectionError(f"{url}: not fetched ({getattr(e, 'reason', e)}); run it again later.") from None


def _append(url: str, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=30) as reply:
        have = have if reply.status == 206 else 0
        size = have + int(reply.headers.get("Content-Length", 0))
        bar = tqdm(total=size or None, initial=have, unit="B", unit_scale=True, desc=part.stem)
        with bar, open(part, "ab" if have else "wb") as out:
            while block := reply.read(1 << 16):
                out.write(block)
                bar.update(len(block))
    if part.stat().st_size < size:
        raise ConnectionResetError("the connection broke off")
