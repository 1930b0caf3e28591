"""Where models and images are looked for, and where downloads are kept."""

from __future__ import annotations

from pathlib import Path

import platformdirs

VARIABLE = "INT8_ASSETS"  # names a folder with yolov8n.pt and coco128/; set but empty, only the course's own data serve

_INSTALLED = Path(__file__).resolve().parents[1] / "_data"  # what a wheel carries of data/
_CHECKOUT = Path(__file__).resolve().parents[2] / "data"
_IS_INSTALLED = _INSTALLED.is_dir()

DATA = _INSTALLED if _IS_INSTALLED else _CHECKOUT  # the course's own model, images and numbers
CACHE = platformdirs.user_cache_path("int8-npu-course", appauthor=False) if _IS_INSTALLED else DATA / "cache"
CACHE_NAME = str(CACHE) if _IS_INSTALLED else "data/cache"  # as messages call it
