"""Models and pictures, wherever they are: data/'s own by default, real ones where the user has them."""

from __future__ import annotations

import functools
import hashlib
import http.client
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from tqdm.auto import tqdm

DATA = Path(__file__).resolve().parents[1] / "data"
CACHE = DATA / "cache"
VARIABLE = "INT8_ASSETS"  # a folder with yolov8n.pt and coco128/; set but empty, only data/ is used
COCO128_URL = "https://github.com/lightly-ai/coco128_yolo/releases/download/v0.0.1/coco128_yolo.zip"
# Over name and content of its 128 train2017 pictures, then of their 128 label files, each in order of name.
COCO128_SHA256 = "2612ee30205b61372e952ea0e60cdddded2c1620af45134db20b26e9911f0ca0"
YOLOV8N_URL = "https://github.com/ultralytics/assets/releases/download/v8.3.0/yolov8n.pt"
# SHA-256 of checkpoints that we know to hold weights alone: YOLOv8n rebuilt from its public INT8 export.
KNOWN_PICKLES = {"77b5c548f1a745c4bfd260ecee0b038efe221f121fdca4c340b66d5e8509d2c4"}
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
BESIDE = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".cache"}  # labels and notes: not worth a word


def _folders() -> list[Path]:
    named = os.environ.get(VARIABLE)
    return [] if named == "" else [*([Path(named).expanduser()] if named else []), CACHE]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(files: dict[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order given."""
    return hashlib.sha256(b"".join(name.encode() + content for name, content in files.items())).hexdigest()


def _missing(name: str, what: str, serves: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{what} '{name}' is neither a path nor in {VARIABLE}'s folder nor in data/cache; "
        f"set {VARIABLE} to the folder that holds it or run `python -m helpers fetch {name}` (needs the network); "
        f"meanwhile {serves} serves."
    )


class UntrustedPickle(ValueError):
    """A checkpoint whose loading could run anything, and nobody has said that it may."""


def find(name) -> Path:
    """Path of the model that `model(name)` gives, without loading anything: a `.pt` itself where it is not ONNX yet.

    Raises FileNotFoundError that says how to get it.

    >>> find(DATA / "scenes.onnx").name
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
    path = DATA / "scenes.onnx" if name is None else find(name)
    return _export(path, trust_pickle) if path.suffix == ".pt" else path


def _made(checkpoint: Path, digest: str) -> Path:
    return CACHE / f"{checkpoint.stem}-{digest[:8]}.onnx"


def _export(checkpoint: Path, trust_pickle: bool) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:  # Ultralytics writes beside the checkpoint
        copy = Path(shutil.copyfile(checkpoint, Path(work) / checkpoint.name))
        digest = _sha256(copy)  # of what is loaded, not of a file that may change meanwhile
        if digest not in KNOWN_PICKLES and not trust_pickle:
            raise UntrustedPickle(
                f"{checkpoint}: not loaded, for a .pt is a pickle, which runs whatever code its maker put in it, and "
                f"its SHA-256 {digest} is none that we know; if you trust where it came from, add `--trust-pickle` "
                "(Python: `assets.model(…, trust_pickle=True)`), or give an .onnx, which holds no code."
            )
        _ultralytics(copy)
        made = _made(checkpoint, digest)
        os.replace(copy.with_suffix(".onnx"), made)
    return made


def _ultralytics(checkpoint: Path) -> None:
    """Export beside the checkpoint, in a process of its own: the import patches Pillow and NumPy's printing here."""
    if importlib.util.find_spec("ultralytics") is None:
        raise ImportError(
            f"{checkpoint.name}: this needs the extra, so put `uv run --extra yolo` before the command; "
            "meanwhile data/scenes.onnx, `assets.model()`, serves."
        )
    quiet = {"YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    export = "format='onnx', imgsz=640, opset=17, simplify=True, dynamic=False, batch=1"
    code = f"import sys; from ultralytics import YOLO; YOLO(sys.argv[1]).export({export})"
    own = {"YOLO_CONFIG_DIR": str(checkpoint.parent)}  # else it keeps settings in the user's home
    command = [sys.executable, "-c", code, str(checkpoint)]
    done = subprocess.run(command, env=os.environ | quiet | own, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"{checkpoint.name}: Ultralytics cannot use it ({reason}).")


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
    if os.environ.get(VARIABLE) == "":
        return f"{VARIABLE} is empty"
    if isinstance(reason, ImportError):
        return "yolov8n.pt is there but the extra `yolo`, which makes ONNX of it, is not installed"
    if isinstance(reason, UntrustedPickle):
        return "yolov8n.pt is there but its SHA-256 is not one that we know, so it is not loaded (see `assets.model`)"
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


def fetch(name: str, trust_pickle: bool = False) -> Path:
    """Download `yolov8n` or `coco128` into data/cache: progress bar, resume, checksum; a failure leaves nothing.

    The pictures' SHA-256 is compared before one is written. The weights become ONNX as in `model`: a `.pt` with an
    unknown SHA-256 is kept, but not loaded without `trust_pickle`.
    Raises ValueError (unknown name, wrong checksum), UntrustedPickle, ConnectionError (no network), ImportError (no
    extra).

    >>> fetch("imagenet")
    Traceback (most recent call last):
    ValueError: 'imagenet' cannot be fetched; choose yolov8n or coco128.
    """
    if name not in ("yolov8n", "coco128"):
        raise ValueError(f"'{name}' cannot be fetched; choose yolov8n or coco128.")
    CACHE.mkdir(parents=True, exist_ok=True)
    return _fetch_yolov8n(CACHE / "yolov8n.pt", trust_pickle) if name == "yolov8n" else _fetch_coco128(CACHE / name)


def _fetch_yolov8n(target: Path, trust_pickle: bool) -> Path:
    if not target.is_file():
        came = download(YOLOV8N_URL, target.with_suffix(".download"))
        if not zipfile.is_zipfile(came):  # which a checkpoint is, and a page that says sorry is not
            came.unlink()
            raise ValueError(f"{YOLOV8N_URL}: what came is not a checkpoint; nothing was kept.")
        os.replace(came, target)
    return model(target, trust_pickle)


def _fetch_coco128(target: Path) -> Path:
    if target.is_dir():
        return target
    archive = download(COCO128_URL, CACHE / "coco128.zip")
    try:
        files = _checked(archive)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, UnicodeDecodeError):
        raise _refused("is not a whole zip archive") from None
    finally:
        archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        for name, content in files.items():
            path = Path(work) / "coco128" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.replace(Path(work) / "coco128", target)
    return target


def _refused(why: str) -> ValueError:
    return ValueError(f"{COCO128_URL}: what came {why}; nothing was kept.")


def _checked(archive: Path) -> dict[str, bytes]:
    """{images/train2017/…jpg, labels/train2017/…txt: content} of an archive that is COCO128, nothing written yet.

    Raises ValueError where a name leads out of the folder, is a link or comes twice, where it is too much, or where
    names or contents are not those of COCO128.
    """
    found = {}
    with zipfile.ZipFile(archive) as z:
        for m in z.infolist():
            if re.search(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|:", m.filename) or stat.S_ISLNK(m.external_attr >> 16):
                raise _refused(f"holds {m.filename!r}, which leads out of its folder")
            kept = re.fullmatch(
                r"(?:[^/]+/)?((images/train2017/[\w-]+\.jpg)|(labels/train2017/[\w-]+\.txt))", m.filename
            )
            if kept and found.setdefault(kept[1], m) is not m:
                raise _refused(f"holds '{kept[1]}' twice")
        if len(found) > 256 or sum(m.file_size for m in found.values()) > 64e6:  # bytes; COCO128 has 22 MB
            raise _refused("holds more than COCO128's 256 files or 64 MB")
        files = {name: z.read(found[name]) for name in sorted(found)}
    if _digest(files) != COCO128_SHA256:
        raise _refused("is not the COCO128 we know (SHA-256 differs)")
    return files


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
        bar = tqdm(total=size or None, initial=have, unit="B", unit_scale=True)
        bar.set_description(part.stem)
        with bar, open(part, "ab" if have else "wb") as out:
            while block := reply.read(1 << 16):
                out.write(block)
                bar.update(len(block))
    if part.stat().st_size < size:
        raise ConnectionResetError("the connection broke off")
