"""Boxes with something more: what masks, keypoints and rotated boxes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from helpers.boxes import Detections, Interval, interval, match, paired_metrics, resampled
from helpers.graph import Model, StrPath
from helpers.tasks import layout
from helpers.tasks.detection import Detection
from helpers.tasks.detector import INPUT, SHOWN, Detector, Place
from helpers.tasks.layout import Candidates


class Instances(NamedTuple):
    """Boxes `(xyxy px, scores, classes)`, and what else is known of each, one row a box."""

    boxes: Detections
    more: np.ndarray


class InstanceDetector(Detector):
    """A detector whose results are `Instances`; a subclass says what is more."""

    def read(
        self, outputs: list[np.ndarray], conf: float, iou: float = 0.7, max_det: int = 300, place: Place = INPUT
    ) -> Instances:
        found = self.kept(outputs, conf, iou, max_det)
        boxes = place.back(self.extents(found)), found.scores, found.classes
        return Instances(boxes, self.more(found, outputs, place))

    def extents(self, found: Candidates) -> np.ndarray:
        """Upright boxes around what was found, xyxy px of the input."""
        return found.boxes

    def more(self, found: Candidates, outputs: list[np.ndarray], place: Place) -> np.ndarray:
        """What is known of each box beside box, score and class."""
        raise NotImplementedError


class InstanceTask(Detection):
    """Detection with one number more, 0…1 for each pair of boxes: how alike what belongs to them is."""

    task: ClassVar[str]  # Ultralytics' word for it
    measure: ClassVar[str]  # the key of `agreement` for it
    detector: ClassVar[type[InstanceDetector]]
    scores = ()  # its labels are not read here

    def recognise(self, model: Model) -> bool:
        found = layout.of_model(model)
        return found is not None and found.task == self.task

    def runner(self, path: Model | StrPath, target: str = "cpu", **options: Any) -> InstanceDetector:
        return self.detector(path, target, **options)

    def alike(self, a: Any, b: Any, box: np.ndarray) -> float:
        """How alike `more` of two matched boxes is, 0…1; `box` is the reference's, xyxy."""
        raise NotImplementedError

    def boxes(self, results: Any) -> Detections:
        return results.boxes

    def likeness(self, reference: Any, i: int, test: Any, j: int) -> float:
        """The lesser of the boxes' IoU and `alike`."""
        alike = self.alike(reference.more[i], test.more[j], reference.boxes[0][i])
        return min(super().likeness(reference.boxes, i, test.boxes, j), alike)

    def agreement(self, reference: Sequence[Any], test: Sequence[Any]) -> Mapping[str, Interval]:
        """`boxes.paired_metrics` of the boxes, and the mean of `alike` over matched ones under `measure`."""
        found = paired_metrics([r.boxes for r in reference], [t.boxes for t in test])
        pairs = [self._alike_pairs(a, b) for a, b in zip(reference, test, strict=True)]
        weights = resampled(len(pairs), 200)
        total, count = weights @ [sum(alike) for alike in pairs], weights @ [len(alike) for alike in pairs]
        with np.errstate(invalid="ignore"):
            return {self.measure: interval(total / count), **found}

    def _alike_pairs(self, reference: Instances, test: Instances) -> list[float]:
        """`alike` of each of the reference's visible boxes that test finds too."""
        pairs = [(i, j) for i, j in match(reference.boxes, test.boxes) if reference.boxes[1][i] > SHOWN]
        return [self.alike(reference.more[i], test.more[j], reference.boxes[0][i]) for i, j in pairs]

    def count(self, results: Any) -> int:
        return super().count(results.boxes)

    def change(self, reference: Any, test: Any) -> float:
        unlike = [1 - alike for alike in self._alike_pairs(reference, test)]
        return super().change(reference.boxes, test.boxes) + sum(unlike)

    def score(self, path: StrPath, inputs: Sequence[Path], target: str = "cpu", /) -> dict[str, float]:
        raise ValueError(f"{path}: labels of {self.words.results} are not read here; agreement is what there is.")

    def picture(self, path: StrPath, reference: Any, test: Any, names: Mapping[int, str], /) -> Figure:
        return super().picture(path, reference.boxes, test.boxes, names)

    def rows(self, reference: Any, test: Any, names: Mapping[int, str]) -> list[tuple]:
        return super().rows(reference.boxes, test.boxes, names)
