"""Downloads, only when asked for: progress, resume, checksum; a failure leaves nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from tqdm.auto import tqdm

from helpers.assets import places
from helpers.assets.find import model

COCO128_URL = "https://github.com/lightly-ai/coco128_yolo/releases/download/v0.0.1/coco128_yolo.zip"
# Over name and content of its 128 train2017 pictures, then of their 128 label files, each in order of name.
COCO128_SHA256 = "2612ee30205b61372e952ea0e60cdddded2c1620af45134db20b26e9911f0ca0"
YOLOV8N_URL = "https://github.com/ultralytics/assets/releases/download/v8.3.0/yolov8n.pt"


def fetch(name: str, trust_pickle: bool = False) -> Path:
    """Download `yolov8n` or `coco128` into the cache: progress bar, resume, checksum; a failure leaves nothing.

    The weights become ONNX as in `model`. Raises ValueError (unknown name, wrong checksum), UntrustedPickle,
    ConnectionError (no network), ImportError (no extra).

    >>> fetch("imagenet")
    Traceback (most recent call last):
    ValueError: 'imagenet' cannot be fetched; choose yolov8n or coco128.
    """
    if name not in ("yolov8n", "coco128"):
        raise ValueError(f"'{name}' cannot be fetched; choose yolov8n or coco128.")
    places.CACHE.mkdir(parents=True, exist_ok=True)
    if name == "coco128":
        return _fetch_coco128(places.CACHE / name)
    return _fetch_yolov8n(places.CACHE / "yolov8n.pt", trust_pickle)


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
    archive = download(COCO128_URL, places.CACHE / "coco128.zip")
    try:
        files = _checked(archive)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, UnicodeDecodeError):
        raise _refused("is not a whole zip archive") from None
    finally:
        archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=places.CACHE) as work:
        for name, content in files.items():
            path = Path(work) / "coco128" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.replace(Path(work) / "coco128", target)
    return target


def _checked(archive: Path) -> dict[str, bytes]:
    """{images/train2017/…jpg, labels/train2017/…txt: content} of an archive; ValueError where it is not COCO128."""
    found: dict[str, zipfile.ZipInfo] = {}
    with zipfile.ZipFile(archive) as z:
        for m in z.infolist():
            if re.search(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|:", m.filename) or stat.S_ISLNK(m.external_attr >> 16):
                raise _refused(f"holds {m.filename!r}, which leads out of its folder")
            kept = re.fullmatch(
                r"(?:[^/]+/)?((images/train2017/[\w-]+\.jpg)|(labels/train2017/[\w-]+\.txt))", m.filename
            )
            if not kept:
                continue
            if kept[1] in found:
                raise _refused(f"holds '{kept[1]}' twice")
            found[kept[1]] = m
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
    """Add to `part` what it lacks of the URL, or begin anew where the server cannot go on from there."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=30) as reply:
        have = have if reply.status == 206 else 0
        size = have + int(reply.headers.get("Content-Length", 0))
        bar = tqdm(total=size or None, initial=have, unit="B", unit_scale=True)
        bar.set_description(part.stem)
        with bar, open(part, "ab" if have else "wb") as out:
            for block in iter(lambda: reply.read(65536), b""):
                out.write(block)
                bar.update(len(block))
    if part.stat().st_size < size:
        raise ConnectionResetError("the connection broke off")


def _digest(files: dict[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order given."""
    return hashlib.sha256(b"".join(name.encode() + content for name, content in files.items())).hexdigest()


def _refused(why: str) -> ValueError:
    return ValueError(f"{COCO128_URL}: what came {why}; nothing was kept.")
