"""Rotated boxes: a detector's boxes, each with an angle."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from helpers.boxes import nms, rotated_iou
from helpers.tasks.detection import Detection
from helpers.tasks.detector import Place
from helpers.tasks.instances import InstanceDetector, InstanceTask
from helpers.tasks.layout import Candidates
from helpers.tasks.task import Words


class RotatedDetector(InstanceDetector):
    """`more` is N×5: centre, width, height in px, and the angle in radians; boxes are the upright ones around them."""

    def suppress(self, found: Candidates, iou: float, max_det: int) -> np.ndarray:
        return nms(_rotated(found), found.scores, found.classes, iou, max_det, rotated_iou)

    def extents(self, found: Candidates) -> np.ndarray:
        """|cos|·w + |sin|·h wide, |sin|·w + |cos|·h high."""
        cos, sin = np.abs(np.cos(found.more[:, 0])), np.abs(np.sin(found.more[:, 0]))
        width, height = found.boxes[:, 2], found.boxes[:, 3]
        half = np.stack([cos * width + sin * height, sin * width + cos * height], 1) / 2
        return np.concatenate([found.boxes[:, :2] - half, found.boxes[:, :2] + half], 1)

    def more(self, found: Candidates, outputs: list[np.ndarray], place: Place) -> np.ndarray:
        rotated = _rotated(found)
        centre = place._replace(size=None).back(rotated[:, :2])
        return np.concatenate([centre, rotated[:, 2:4] / place.gain, rotated[:, 4:]], 1)


def _rotated(found: Candidates) -> np.ndarray:
    return np.concatenate([found.boxes, found.more[:, :1]], 1)


class Rotated(InstanceTask):
    """Rotated boxes of any Ultralytics OBB model."""

    name = "obb"
    task = "obb"
    measure = "rotated_iou"
    words = Words("picture", "pictures", "rotated box", "rotated boxes")
    shown: ClassVar = {"rotated_iou": "IoU of the rotated boxes"} | Detection.shown
    history: ClassVar = {"agreement": "agreement", "rotated_iou": "rotated IoU", "jitter_abs": "|Δ score|"}
    detector = RotatedDetector

    def alike(self, a: Any, b: Any, box: np.ndarray) -> float:
        """`boxes.rotated_iou` of the two."""
        return float(rotated_iou(a, b))


TASK = Rotated()
