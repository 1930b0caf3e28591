"""Masks of single objects: a detector's boxes, each with a mask made of prototypes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from helpers.tasks.detection import Detection
from helpers.tasks.detector import Place
from helpers.tasks.instances import InstanceDetector, InstanceTask
from helpers.tasks.layout import Candidates
from helpers.tasks.task import Words


class MaskDetector(InstanceDetector):
    """`more` is N×h×w bool, on the prototypes' grid over the model's whole input: Σ c·P > 0 inside the box.

    Source: Bolya et al., "YOLACT", 2019.
    """

    def more(self, found: Candidates, outputs: list[np.ndarray], place: Place) -> np.ndarray:
        protos = outputs[1][0]
        masks = np.tensordot(found.more, protos, 1) > 0
        high, wide = protos.shape[1:]
        y, x = (np.mgrid[:high, :wide] + 0.5) * np.array([self.size[0] / high, self.size[1] / wide])[:, None, None]
        x0, y0, x1, y1 = found.boxes.T[:, :, None, None]
        return masks & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


class InstanceMasks(InstanceTask):
    """Instance segmentation of any Ultralytics segmenter; semantic maps are another task."""

    name = "instance_masks"
    task = "segment"
    measure = "mask_iou"
    words = Words("picture", "pictures", "mask", "masks")
    shown: ClassVar = {"mask_iou": "IoU of the masks"} | Detection.shown
    history: ClassVar = {"agreement": "agreement", "mask_iou": "mask IoU", "jitter_abs": "|Δ score|"}
    detector = MaskDetector

    def alike(self, a: Any, b: Any, box: np.ndarray) -> float:
        """IoU of two masks; 1 where both are empty."""
        union = np.count_nonzero(a | b)
        return np.count_nonzero(a & b) / union if union else 1.0


TASK = InstanceMasks()
