"""YOLOv8's detections: boxes out of its outputs, scores against labels."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from helpers import plot, targets
from helpers.assets import images, open_image
from helpers.boxes import average_precision, box_iou, match, nms, paired_boxes, paired_metrics
from helpers.graph import Model
from helpers.tasks.feeds import Feeds, _height_width, letterbox, picture_input
from helpers.tasks.head_drift import Drift, drift_against, reference_outputs
from helpers.tasks.task import Task, Words
from helpers.tasks.yolo_head import find, is_decoded, of_model, of_outputs, split_head

SHOWN = 0.25  # the score above which a person sees a box


def decode(outputs, size, conf: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """YOLOv8's raw outputs to candidates above `conf`: `(xyxy px of the input, scores, classes)`.

    Cut graphs give (1×4R×H×W, 1×C×H×W) per stride: a side's distance is Σ i·softmax(logits)_i · stride
    (DFL; Li et al. 2020), a score is σ(logit). The whole graph gives one 1×(4+C)×N of boxes and scores. `size` is
    the input's (height, width), or the side of a square.
    """
    boxes, scores, classes = [], [], []
    if len(outputs) == 1:
        cxcywh, probability = outputs[0][0, :4].T, outputs[0][0, 4:]
        c, i = np.nonzero(probability > conf)
        centre, half = cxcywh[i, :2], cxcywh[i, 2:] / 2
        return np.concatenate([centre - half, centre + half], 1), probability[c, i], c
    threshold = np.log(conf / (1 - conf)) if conf > 0 else -np.inf
    for box, logit in zip(outputs[::2], outputs[1::2], strict=True):
        high, wide = _height_width(size)
        stride = np.tile([wide / box.shape[3], high / box.shape[2]], 2)
        c, y, x = np.nonzero(logit[0] > threshold)
        sides = box[0][:, y, x].reshape(4, box.shape[1] // 4, len(c)).astype(np.float64)
        sides = np.exp(sides - sides.max(1, keepdims=True))
        ltrb = (sides * np.arange(sides.shape[1])[:, None]).sum(1) / sides.sum(1)
        centre = np.stack([x, y], 1) + 0.5
        boxes.append(np.concatenate([centre - ltrb[:2].T, centre + ltrb[2:].T], 1) * stride)
        scores.append(1 / (1 + np.exp(-logit[0, c, y, x].astype(np.float64))))
        classes.append(c)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes)


def class_scores(outputs) -> np.ndarray:
    """Scores of every class at every place, classes × places, from a whole or a cut graph's outputs.

    >>> class_scores([np.zeros((1, 64, 2, 2)), np.zeros((1, 3, 2, 2))]).shape
    (3, 4)
    """
    if len(outputs) == 1:
        return outputs[0][0, 4:]
    logits = np.concatenate([o[0].reshape(o.shape[1], -1) for o in outputs[1::2]], 1)
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


class Detector:
    """A YOLOv8 ONNX model (whole or cut; FP32 or QDQ) on one target, from picture to boxes.

    `targets.load` says what `target` and `options` may be and raises where they are not to be had. `size` is the
    input's (height, width). Raises ValueError for a model that is no YOLOv8 detector, such as a classifier.

    >>> from helpers import assets
    >>> xyxy, scores, classes = Detector(assets.model()).detect(assets.images()[0])
    >>> xyxy.shape[1], len(scores) == len(classes)
    (4, True)
    """

    def __init__(self, path, target: str = "cpu", **options):
        self.path, self.target = Path(path), target
        self.session = targets.load(path, target, **options)
        self.input, self.size = picture_input(self.session, path)
        outputs = [(o.name, o.shape) for o in self.session.get_outputs()]
        if of_outputs(outputs) is None and not is_decoded(outputs, self.size):
            shown = ", ".join(f"'{name}' {'×'.join(map(str, shape))}" for name, shape in outputs[:2])
            text = "is no YOLOv8 detector, whole or cut by `qdq.split_head`"
            raise ValueError(f"{path}: {text}: its outputs are {shown}{' …' * (len(outputs) > 2)}; give one.")
        meta = self.session.get_modelmeta().custom_metadata_map
        self.names: dict[int, str] = ast.literal_eval(meta.get("names", "{}"))

    def results(self, image):
        """Every box worth judging, as `detect` gives them: those above 0.001."""
        return self.detect(image, conf=0.001)

    def detect(self, image, conf: float = 0.25, iou: float = 0.7, max_det: int = 300):
        """Boxes of one picture as `(xyxy in its own pixels, scores, classes)`, best first."""
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else open_image(image)
        x, gain, pad = letterbox(image, self.size)
        xyxy, scores, classes = decode(self.session.run(None, {self.input: x}), self.size, conf)
        kept = nms(xyxy, scores, classes, iou, max_det)
        xyxy = (xyxy[kept] - np.tile(pad, 2)) / gain
        return np.clip(xyxy, 0, np.tile(image.size, 2)), scores[kept], classes[kept]


def labels(path) -> tuple[np.ndarray, np.ndarray]:
    """The true `(xyxy px, classes)` of a picture, from the YOLO text file beside its folder (images/ → labels/).

    No file means no objects. Raises FileNotFoundError if the labels' folder is not there.
    """
    path = Path(path)
    parts = list(path.parts)
    if "images" not in parts:
        raise FileNotFoundError(f"{path}: has no labels; AP needs a folder images/ with labels/ beside it.")
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    text = Path(*parts).with_suffix(".txt")
    if not text.parent.is_dir():
        raise FileNotFoundError(f"{text.parent}: no such folder of labels; AP needs it.")
    rows = np.loadtxt(text, ndmin=2) if text.is_file() and text.stat().st_size else np.zeros((0, 5))
    with Image.open(path) as image:
        scale = np.tile(ImageOps.exif_transpose(image).size, 2)
    centre, half = rows[:, 1:3], rows[:, 3:5] / 2
    return np.concatenate([centre - half, centre + half], 1) * scale, rows[:, 0].astype(int)


def evaluate(path, pictures, target: str = "cpu", executor=None, **options) -> dict[str, float]:
    """AP of one model on labelled pictures: every box above 0.001 counts, IoU 0.7 in NMS, as COCO's tables do.

    With a `concurrent.futures` executor (dask.distributed's `get_executor()` is one) its workers detect, eight
    pictures at a time; they must reach the model and the pictures by the same paths. The result is the same.
    """
    truths, detector = [labels(p) for p in pictures], Detector(path, target, **options)
    with tqdm(total=len(truths), unit="picture", leave=False) as bar:
        bar.set_description(f"{detector.path.stem} on {target}")  # escaped; a `desc=` goes into the page as raw HTML
        found = []
        if executor is None:
            parts = ([detector.results(p)] for p in pictures)
        else:
            shards = [pictures[i : i + 8] for i in range(0, len(pictures), 8)]
            parts = executor.map(_detect, *zip(*((path, target, options, s) for s in shards), strict=True))
        for part in parts:
            found += part
            bar.update(len(part))
    return average_precision(found, truths)


def _detect(path, target, options, pictures) -> list:
    detector = Detector(path, target, **options)
    return [detector.results(p) for p in pictures]


class Detection(Task):
    """YOLOv8's detections, of any export and any number of strides: results are `(xyxy px, scores, classes)`."""

    name = "detection"
    words = Words("picture", "pictures", "box", "boxes")
    scores = ("AP50-95", "AP50")
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
    drifts: ClassVar = {"score": "scores: mean |change|", "box": "boxes: mean 1 − IoU"}

    def recognise(self, model: Model) -> bool:
        try:
            find(model)
        except ValueError:
            return False
        return True

    def prepare(self, model, out) -> Path:
        return split_head(model, out)

    def inputs(self, source) -> list[Path]:
        return images(source)

    def feeds(self, paths, model) -> Feeds:
        return Feeds(paths, model)

    def runner(self, path, target: str = "cpu", **options) -> Detector:
        return Detector(path, target, **options)

    def count(self, results) -> int:
        return int((results[1] > SHOWN).sum())

    def change(self, reference, test) -> float:
        return float(np.abs(paired_boxes([reference], [test])["jitter"]).sum())

    def agreement(self, reference, test):
        return paired_metrics(reference, test)

    def score(self, path, inputs, target: str = "cpu") -> dict[str, float]:
        return evaluate(path, inputs, target)

    def picture(self, path, reference, test, names):
        return plot.overlay(path, reference, test, names)

    def rows(self, reference, test, names) -> list[tuple]:
        found: list[tuple] = [("box", "score FP32 → INT8", "change", "IoU")]
        pairs = dict(match(reference, test))
        for k in np.flatnonzero(reference[1] > SHOWN):
            name, score, j = names.get(int(reference[2][k]), int(reference[2][k])), reference[1][k], pairs.get(int(k))
            if j is None:
                found.append((name, f"{score:.3f} → none", "lost", "–"))
            else:
                other, iou = test[1][j], box_iou(reference[0][k], test[0][j])
                found.append((name, f"{score:.3f} → {other:.3f}", f"{other - score:+.3f}", f"{iou:.3f}"))
        return found

    def output_ranges(self, model: Model, histograms) -> dict[str, tuple[float, float]]:
        """DFL logits from −4 (softmax forgets what lies far below the peak) to the largest seen (the peak is the
        answer), class logits from −7 (no detector keeps σ < 0.001) to ½ past the largest seen."""
        found, ranges = of_model(model), {}
        for box, score in zip(found.boxes, found.scores, strict=True) if found else ():
            ranges[box] = max(histograms[box].min, -4.0), max(histograms[box].max, 0.0)
            ranges[score] = max(histograms[score].min, -7.0), max(histograms[score].max + 0.5, 0.0)
        return ranges

    def wide_first(self, model: Model) -> list[list[str]]:
        """The DFL logits: a box's sides are read off them."""
        found = of_model(model)
        return [list(found.boxes)] if found else []

    def reference_outputs(self, fp32, feeds):
        return reference_outputs(fp32, feeds)

    def drift_against(self, reference, qdq_model, feeds, target: str = "cpu") -> Drift:
        return drift_against(reference, qdq_model, feeds, target)


TASK = Detection()
