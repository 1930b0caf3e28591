"""A checkpoint becomes ONNX, by Ultralytics in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.assets.find import CACHE, KNOWN_PICKLES, UntrustedPickle, _made, _sha256


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
