"""Keypoints of objects: a detector's boxes, each with the points of a body."""

from __future__ import annotations

import ast
from typing import Any, ClassVar

import numpy as np

from helpers.tasks.detection import Detection
from helpers.tasks.detector import Place
from helpers.tasks.instances import InstanceDetector, InstanceTask
from helpers.tasks.layout import Candidates
from helpers.tasks.task import Words

_SPREAD = 0.1  # κ of each point, near the mean of COCO's seventeen


class PoseDetector(InstanceDetector):
    """`more` is N×K×2 or N×K×3: (x, y) in px, and how visible the point is, where the model says so."""

    def more(self, found: Candidates, outputs: list[np.ndarray], place: Place) -> np.ndarray:
        metadata = self.session.get_modelmeta().custom_metadata_map
        points = found.more.reshape(len(found.more), *ast.literal_eval(metadata["kpt_shape"]))
        return np.concatenate([place._replace(size=None).back(points[..., :2]), points[..., 2:]], -1)


class Pose(InstanceTask):
    """Poses of any Ultralytics pose model."""

    name = "pose"
    task = "pose"
    measure = "keypoint_similarity"
    words = Words("picture", "pictures", "pose", "poses")
    shown: ClassVar = {"keypoint_similarity": "similarity of the keypoints"} | Detection.shown
    history: ClassVar = {
        "agreement": "agreement",
        "keypoint_similarity": "keypoints' similarity",
        "jitter_abs": "|Δ score|",
    }
    detector = PoseDetector

    def alike(self, a: Any, b: Any, box: np.ndarray) -> float:
        """COCO's object keypoint similarity, one κ = 0.1 for all points: the mean of exp(−d²/2·area·κ²).

        Over the points that the reference sees (0.5 and more), over all where it sees none.
        """
        area = max(float((box[2] - box[0]) * (box[3] - box[1])), 1e-9)
        alike = np.exp(-((a[:, :2] - b[:, :2]) ** 2).sum(1) / (2 * area * _SPREAD**2))
        seen = a[:, 2] >= 0.5 if a.shape[1] > 2 else np.zeros(len(a), bool)
        return float(alike[seen].mean() if seen.any() else alike.mean())


TASK = Pose()
