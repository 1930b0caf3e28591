"""Where models and pictures are looked for."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
CACHE = DATA / "cache"
VARIABLE = "INT8_ASSETS"  # a folder with yolov8n.pt and coco128/; set but empty, only data/ is used
