"""Where models and pictures are looked for."""

from __future__ import annotations

from pathlib import Path

_HELPERS = Path(__file__).resolve().parents[1]
_IN_WHEEL = _HELPERS / "_data"
DATA = _IN_WHEEL if _IN_WHEEL.is_dir() else _HELPERS.parent / "data"
CACHE = DATA / "cache"
VARIABLE = "INT8_ASSETS"  # a folder with yolov8n.pt and coco128/; set but empty, only data/ is used
