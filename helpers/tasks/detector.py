"""Any detector on a target: from an image to boxes."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

import numpy as np

from helpers.boxes import nms
from helpers.graph import Model, StrPath
from helpers.tasks import layout
from helpers.tasks.completed import load_completed
from helpers.tasks.interface import Interface
from helpers.tasks.layout import Candidates
from helpers.tasks.preprocessing import ImageLike
from helpers.tasks.proposal import preprocessing
from helpers.tasks.yolo_decode import decode
from helpers.tasks.yolo_head import of_outputs

SHOWN = 0.25  # the score above which a person sees a box
JUDGED = 0.001  # the score above which a box counts for AP, as in COCO's tables


class Place(NamedTuple):
    """Where an image lies in a model's input: a point p of it at gain·p + pad; `size` is its (width, height) in px."""

    gain: tuple[float, float] = (1.0, 1.0)
    pad: tuple[int, int] = (0, 0)
    size: tuple[int, int] | None = None

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points …×2 or boxes …×4 of the input in px of the image, none beyond its edges."""
        repeat = points.shape[-1] // 2
        found = (points - np.tile(self.pad, repeat)) / np.tile(self.gain, repeat)
        return found if self.size is None else np.clip(found, 0, np.tile(self.size, repeat))


INPUT = Place()


class Detector:
    """A detector's ONNX file (whole or cut; FP32 or QDQ) on one target, from image to boxes.

    `size` is the input's (height, width), `names` are those of the classes, `layout` says how the whole model writes
    its outputs (None for a YOLOv8 cut into boxes and scores). Raises as `targets.load` does, and ValueError for a
    model that is no detector.

    >>> from helpers import assets
    >>> xyxy, scores, classes = Detector(assets.model()).detect(assets.images()[0])
    >>> xyxy.shape[1], len(scores) == len(classes)
    (4, True)
    """

    def __init__(self, path: Model | StrPath, target: str = "cpu", **options: Any):
        self.target = target
        self.session = load_completed(path, target, **options)
        self.preprocessing = preprocessing(Interface.of_session(self.session, path))
        self.input, self.size = self.preprocessing.input, self.preprocessing.size
        outputs = [(o.name, o.shape) for o in self.session.get_outputs()]
        self.layout = None if of_outputs(outputs) else layout.of_model(Model.of(path))
        if of_outputs(outputs) is None and self.layout is None:
            shown = ", ".join(f"'{name}' {'×'.join(map(str, shape))}" for name, shape in outputs[:2])
            more = " …" if len(outputs) > 2 else ""
            text = "is no YOLOv8 detector, whole or cut by `qdq.split_head`, nor another that is known"
            raise ValueError(f"{path}: {text}: its outputs are {shown}{more}; give one.")
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.names: dict[int, str] = ast.literal_eval(metadata.get("names", "{}"))

    def results(self, image: ImageLike) -> Any:
        """As `detect`, with every box above 0.001, as COCO's tables judge them."""
        return self.detect(image, conf=JUDGED)

    def detect(self, image: ImageLike, conf: float = SHOWN, iou: float = 0.7, max_det: int = 300) -> Any:
        """Boxes above `conf` that `boxes.nms` keeps, `(xyxy in the image's px, scores, classes)`, best first.

        Heads that rank their boxes themselves need no `nms`.
        """
        image = self.preprocessing.opened(image)
        x, gain, offset = self.preprocessing(image)
        return self.read(self.session.run(None, {self.input: x}), conf, iou, max_det, Place(gain, offset, image.size))

    def read(
        self, outputs: list[np.ndarray], conf: float, iou: float = 0.7, max_det: int = 300, place: Place = INPUT
    ) -> Any:
        """What `detect` gives, from the session's outputs; without a `place` in px of the input."""
        found = self.kept(outputs, conf, iou, max_det)
        return place.back(found.boxes), found.scores, found.classes

    def kept(self, outputs: list[np.ndarray], conf: float, iou: float = 0.7, max_det: int = 300) -> Candidates:
        """The candidates that are left, best first."""
        if self.layout is None:
            boxes, scores, classes = decode(outputs, self.size, conf)
            found = Candidates(boxes, scores, classes, np.zeros((len(scores), 0)))
        else:
            found = self.layout.candidates(outputs, self.size, conf)
        if self.layout is None or self.layout.overlapping:
            left = self.suppress(found, iou, max_det)
        else:
            left = np.argsort(-found.scores, kind="stable")[:max_det]
        return Candidates(*(part[left] for part in found))

    def suppress(self, found: Candidates, iou: float, max_det: int) -> np.ndarray:
        """Indices of the boxes that `boxes.nms` keeps."""
        return nms(found.boxes, found.scores, found.classes, iou, max_det)
