"""What this machine has."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re

from helpers import assets, targets

PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-qnn", "jupyterlab", "ultralytics")


def add_arguments(command: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> None:
    """Say what this machine has and what it lacks, with the remedy."""
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    pins = assets.DATA.parent / "constraints.txt"
    tested = re.findall(r"^([\w.-]+)==([^\s;]+)", pins.read_text(encoding="utf-8"), re.M) if pins.is_file() else []
    for name in PACKAGES:
        print(f"  {name:<16} {_installed(name, [version for pin, version in tested if pin == name])}")
    for name, target in targets.registry().items():
        print(f"  target {name:<9} {target.unavailable() or target.describe()}")
    for what, find in (
        ("model yolov8n", lambda: assets.find("yolov8n")),
        ("coco128", lambda: assets.images("coco128")[0].parent),
    ):
        try:
            found = find()
        except FileNotFoundError as e:
            print(f"  {what:<16} {e}")
            continue
        note = " (a checkpoint, not loaded here; `quantize` turns it into ONNX)" if found.suffix == ".pt" else ""
        print(f"  {what:<16} {found}{note}")


def _installed(name: str, pinned: list[str]) -> str:
    """The version of a package that is installed here, and the one that was tested where it is another."""
    try:
        here = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        needed = "  (only export and training need it: extra `yolo`)" if name == "ultralytics" else ""
        return f"not installed{needed}"
    return here if not pinned or here in pinned else f"{here}  (tested with {' or '.join(pinned)})"
