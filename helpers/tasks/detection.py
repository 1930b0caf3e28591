"""Detection: boxes against labels, and the boxes of two models against each other."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from helpers import plot, targets
from helpers.boxes import (
    Detections,
    Interval,
    Truth,
    average_precision,
    box_iou,
    match,
    paired_boxes,
    paired_metrics,
)
from helpers.calibrate import Histogram
from helpers.graph import Feed, Model, StrPath
from helpers.plot.accuracy import DRIFTS
from helpers.tasks import drift, layout, matched_drift
from helpers.tasks.detector import SHOWN, Detector
from helpers.tasks.feeds import Feeds
from helpers.tasks.inputs import pictures
from helpers.tasks.task import Range, Task, Words
from helpers.tasks.yolo_head import is_plain, of_model, split_head


def labels(path: StrPath) -> Truth:
    """The true `(xyxy px, classes)` of an image, from the YOLO text file beside its folder (images/ → labels/).

    No file means no objects. Raises FileNotFoundError if the labels' folder is not there.

    >>> from helpers import assets
    >>> xyxy, classes = labels(assets.images("validation")[0])
    >>> xyxy.shape == (len(classes), 4)
    True
    """
    path = Path(path)
    parts = list(path.parts)
    if "images" not in parts:
        raise FileNotFoundError(f"{path}: has no labels; AP needs a folder images/ with labels/ beside it.")
    last = len(parts) - 1 - parts[::-1].index("images")
    parts[last] = "labels"
    text = Path(*parts).with_suffix(".txt")
    if not text.parent.is_dir():
        raise FileNotFoundError(f"{text.parent}: no such folder of labels; AP needs it.")
    has_objects = text.is_file() and text.stat().st_size > 0
    rows = np.loadtxt(text, ndmin=2) if has_objects else np.zeros((0, 5))  # class, then cx, cy, w, h as shares
    with Image.open(path) as image:
        scale = np.tile(ImageOps.exif_transpose(image).size, 2)
    centre, half = rows[:, 1:3], rows[:, 3:5] / 2
    return np.concatenate([centre - half, centre + half], 1) * scale, rows[:, 0].astype(int)


def evaluate(
    path: StrPath, images: Sequence[StrPath], target: str = "cpu", executor: Executor | None = None, **options: Any
) -> dict[str, float]:
    """AP of one model on labelled images: every box above 0.001 counts, IoU 0.7 in NMS, as COCO's tables do.

    With a `concurrent.futures` executor its workers detect, eight images at a time, and must reach model and images
    by the same paths. Raises as `labels`, `Detector` and `average_precision` do.
    """
    truths, detector = [labels(image) for image in images], Detector(path, target, **options)
    found: Iterable[Detections] = map(detector.results, images)
    if executor is not None:
        detect = functools.partial(_detect_shard, Path(path), target, options)
        shards = [images[i : i + 8] for i in range(0, len(images), 8)]
        found = itertools.chain.from_iterable(executor.map(detect, shards))
    with tqdm(found, total=len(truths), unit="picture", leave=False) as bar:
        bar.set_description(f"{Path(path).stem} on {target}")  # escaped; a `desc=` goes into the page as raw HTML
        return average_precision(list(bar), truths)


def _detect_shard(path: Path, target: str, options: dict[str, Any], images: Sequence[StrPath]) -> list[Detections]:
    detector = Detector(path, target, **options)
    return [detector.results(image) for image in images]


class Detection(Task):
    """Boxes, of any detector that `layout.of_model` knows: results are `(xyxy px, scores, classes)`."""

    name = "detection"
    examples = "calibration"
    words = Words("picture", "pictures", "box", "boxes")
    scores: ClassVar[tuple[str, ...]] = ("AP50-95", "AP50")
    shown: ClassVar = {
        "agreement": "agreement (AP50-95 with FP32's boxes)",
        "iou_drift": "IoU drift, 1 − IoU",
        "jitter_mean": "Δ score, mean",
        "jitter_abs": "Δ score, mean size",
        "lost": "lost, share of FP32's boxes",
        "new": "new, share of FP32's boxes",
        "flips": "found as another class, share",
    }
    history: ClassVar = {"agreement": "agreement", "iou_drift": "IoU drift", "jitter_abs": "|Δ score|"}
    drifts: ClassVar = DRIFTS

    def recognise(self, model: Model) -> bool:
        found = layout.of_model(model)
        return (found is not None and found.task == "detect") or is_plain(model)

    prepare = staticmethod(split_head)
    inputs = staticmethod(pictures)
    feeds = staticmethod(Feeds)

    def runner(self, path: Model | StrPath, target: str = "cpu", **options: Any) -> Detector:
        return Detector(path, target, **options)

    def agreement(self, reference: Sequence[Any], test: Sequence[Any]) -> Mapping[str, Interval]:
        return paired_metrics(reference, test)

    def truths(self, inputs: Sequence[Path]) -> list[Truth]:
        found = [labels(path) for path in inputs]
        if not any(len(classes) for _, classes in found):
            raise FileNotFoundError(f"{inputs[0].parent}: the labels of these pictures hold no object to score by.")
        return found

    def score_results(self, results: Sequence[Any], truths: Sequence[Truth]) -> dict[str, float]:
        return average_precision([self.boxes(each) for each in results], truths)

    def picture(self, path: StrPath, reference: Any, test: Any, names: Mapping[int, str], /) -> Figure:
        return plot.overlay(path, reference, test, names)

    def reference_outputs(self, fp32: Model | StrPath, feeds: Iterable[Feed]) -> Any:
        """Of a YOLOv8 what it says at each place that counts; of every other the boxes that it keeps."""
        if of_model(Model.of(fp32)):
            return drift.reference_outputs(fp32, feeds)
        return matched_drift.reference_results(self, self.runner(fp32, optimize=True), feeds)

    def drift_against(
        self, reference: Any, qdq_model: Model | StrPath, feeds: Iterable[Feed], target: str = "cpu", /
    ) -> drift.Drift:
        if of_model(Model.of(qdq_model)):
            return drift.drift_against(reference, qdq_model, feeds, target)
        runner = self.runner(qdq_model, target, **targets.get(target).quickly)
        return matched_drift.drift_of_results(reference, self, runner, feeds)

    def boxes(self, results: Any) -> Detections:
        """The boxes among one input's results."""
        return results

    def likeness(self, reference: Any, i: int, test: Any, j: int) -> float:
        """How alike box i of one result and box j of another are, 0…1."""
        return float(box_iou(reference[0][i], test[0][j]))

    def count(self, results: Any) -> int:
        return int((results[1] > SHOWN).sum())

    def change(self, reference: Any, test: Any) -> float:
        return float(np.abs(paired_boxes([reference], [test])["jitter"]).sum())

    def rows(self, reference: Any, test: Any, names: Mapping[int, str]) -> list[tuple]:
        found: list[tuple] = [("box", "score FP32 → INT8", "change", "IoU")]
        partner = dict(match(reference, test))
        for i in np.flatnonzero(reference[1] > SHOWN).tolist():
            category, score, j = int(reference[2][i]), reference[1][i], partner.get(i)
            if j is None:
                cells = f"{score:.3f} → none", "lost", "–"
            else:
                other, iou = test[1][j], box_iou(reference[0][i], test[0][j])
                cells = f"{score:.3f} → {other:.3f}", f"{other - score:+.3f}", f"{iou:.3f}"
            found.append((names.get(category, category), *cells))
        return found

    def output_ranges(self, model: Model, histograms: Mapping[str, Histogram]) -> dict[str, Range]:
        """DFL logits from −4 (softmax forgets what lies far below the peak) to the largest seen (the peak is the
        answer), class logits from −7 (no detector keeps σ < 0.001) to ½ past the largest seen."""
        found, ranges = of_model(model), {}
        if found is None:
            return {}
        for box, score in zip(found.boxes, found.scores, strict=True):
            ranges[box] = max(histograms[box].min, -4.0), max(histograms[box].max, 0.0)
            ranges[score] = max(histograms[score].min, -7.0), max(histograms[score].max + 0.5, 0.0)
        return ranges

    def wide_first(self, model: Model) -> list[list[str]]:
        """The DFL logits: a box's sides are read off them."""
        found = of_model(model)
        return [list(found.boxes)] if found else []


TASK = Detection()
