"""A checkpoint becomes ONNX, by Ultralytics in a process of its own, and only where it is trusted."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.assets import places

# SHA-256 of checkpoints that we know to hold weights alone: YOLOv8n rebuilt from its public INT8 export.
KNOWN_PICKLES = {"77b5c548f1a745c4bfd260ecee0b038efe221f121fdca4c340b66d5e8509d2c4"}


class UntrustedPickle(ValueError):
    """A checkpoint whose loading could run anything, and nobody has said that it may."""


def exported(checkpoint: Path) -> Path:
    """Where the ONNX of this very checkpoint is kept, whether it is there yet or not."""
    return _kept_as(checkpoint, _sha256(checkpoint))


def export(checkpoint: Path, trust_pickle: bool = False) -> Path:
    """Make ONNX of a checkpoint and keep it in the cache: static 1×3×640×640, opset 17, simplified.

    Raises UntrustedPickle where its SHA-256 is not known and nobody says `trust_pickle`, ImportError where the extra
    `yolo` is missing, ValueError where Ultralytics cannot use it.
    """
    places.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.CACHE) as work:  # Ultralytics writes beside the checkpoint
        copy = Path(shutil.copyfile(checkpoint, Path(work) / checkpoint.name))
        digest = _sha256(copy)  # of what is loaded, not of a file that may change meanwhile
        if digest not in KNOWN_PICKLES and not trust_pickle:
            raise UntrustedPickle(
                f"{checkpoint}: not loaded, for a .pt is a pickle, which runs whatever code its maker put in it, and "
                f"its SHA-256 {digest} is none that we know; if you trust where it came from, add `--trust-pickle` "
                "(Python: `assets.model(…, trust_pickle=True)`), or give an .onnx, which holds no code."
            )
        _ultralytics(copy)
        kept = _kept_as(checkpoint, digest)
        os.replace(copy.with_suffix(".onnx"), kept)
    return kept


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kept_as(checkpoint: Path, digest: str) -> Path:
    return places.CACHE / f"{checkpoint.stem}-{digest[:8]}.onnx"


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
