"""Pictures in, boxes out, scores: what a detector needs around its graph."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from . import head
from . import session as _session
from .boxes import average_precision, box_iou, match, nms
from .paired import average_precision_interval, paired_boxes, paired_metrics

__all__ = [
    "Detector",
    "Feeds",
    "average_precision",
    "average_precision_interval",
    "box_iou",
    "class_scores",
    "decode",
    "evaluate",
    "labels",
    "letterbox",
    "match",
    "nms",
    "open_picture",
    "paired_boxes",
    "paired_metrics",
    "picture_input",
]


def open_picture(path) -> Image.Image:
    """Read a picture (a path, or an open PIL image) as 8-bit RGB, turned as its EXIF tag says.

    16-bit grey is divided by 257, so that 65535 is white; of several frames the first counts, and transparency is
    left out. Raises FileNotFoundError, or ValueError naming the file: unreadable, or its white is not known.

    >>> open_picture(Image.fromarray(np.uint16([[0, 257, 65535]]))).getpixel((1, 0))
    (1, 1, 1)
    """
    if isinstance(path, Image.Image):
        unknown = _unknown_white(path)
        if not unknown:
            return _rgb(path)
        path = "the picture given"
    elif not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such picture; check the path.")
    else:
        try:
            # Given the path, Pillow maps the file, and a turned TIFF without compression gets the wrong row length.
            with open(path, "rb") as file, Image.open(file) as image:
                unknown = _unknown_white(image)
                if not unknown:
                    return _rgb(ImageOps.exif_transpose(image))
        except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError):
            raise ValueError(f"{path}: cannot be read as a picture; remove the file or replace it.") from None
    raise ValueError(f"{path}: holds {unknown}, and which value is white is not known; save it with 8 bits, as PNG.")


def _unknown_white(image: Image.Image) -> str:
    """What kind of pixels leaves open which value is white; "" where that is known."""
    if image.mode in ("F", "I"):
        return {"F": "floating-point pixels", "I": "32-bit or signed integer pixels"}[image.mode]
    if image.mode.startswith("I;16"):
        bits, photometric = (getattr(image, "tag_v2", {}).get(tag) for tag in (258, 262))  # of a TIFF
        if bits not in (None, (16,)):
            return f"{bits[0]}-bit grey"
        if photometric == 0:
            return "inverted 16-bit grey"
    return ""


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    return image.convert("RGB")


def letterbox(image, size=640) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Fit a picture into `size`, keeping its aspect, grey (114) around it: `(x, gain, (left, top))`.

    `size` is (height, width) or the side of a square, H = W. x is 1×3×H×W float32 in 0…1, RGB; a point of the
    picture sits at `gain·p + (left, top)` px in x. Calibration and inference share this one function: another resize
    would be another distribution. `image` is a path, a PIL image or an H×W×3 uint8 array.

    >>> x, gain, pad = letterbox(Image.new("RGB", (100, 50)), (320, 400))
    >>> x.shape, gain, pad
    ((1, 3, 320, 400), 4.0, (0, 60))
    """
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else open_picture(image)
    high, wide = _height_width(size)
    gain = min(wide / image.width, high / image.height)
    width, height = max(1, round(image.width * gain)), max(1, round(image.height * gain))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (wide - width) // 2, (high - height) // 2
    canvas = Image.new("RGB", (wide, high), (114, 114, 114))
    canvas.paste(image, (left, top))
    x = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / np.float32(255)
    return np.ascontiguousarray(x), gain, (left, top)


def _height_width(size) -> tuple[int, int]:
    return (size, size) if np.ndim(size) == 0 else tuple(size)


def picture_input(session, path) -> tuple[str, tuple[int, int]]:
    """Name and (height, width) of a model's one input, 1×3×H×W; ValueError where the model takes something else."""
    first, *more = session.get_inputs()
    size = tuple(first.shape[2:])
    if more or list(first.shape) != [1, 3, *size] or len(size) != 2 or not all(isinstance(n, int) for n in size):
        shape = "×".join(map(str, first.shape))
        raise ValueError(f"{path}: input '{first.name}' is {shape}; a detector here takes one picture, 1×3×H×W.")
    return first.name, size


class Feeds:
    """Pictures as a re-iterable of `{input name: 1×3×H×W float32}`, read one at a time, so memory stays flat.

    `model` (a path) sets the input's `name` and `size`, (height, width); without it they are 'images' and (640, 640),
    YOLOv8's own.
    Raises ValueError (no pictures) at once and names an unreadable picture when it is reached.

    >>> from helpers import assets
    >>> feeds = Feeds(assets.images()[:2], assets.model())
    >>> len(feeds), next(iter(feeds))["images"].shape
    (2, (1, 3, 320, 320))
    """

    def __init__(self, paths, model=None):
        self.paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
        if not self.paths:
            raise ValueError("no pictures were given; name a folder that holds .jpg or .png files.")
        self.name, self.size = "images", (640, 640)
        if model is not None:
            self.name, self.size = picture_input(_session.load(model), model)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        return {self.name: letterbox(self.paths[index], self.size)[0]}

    def __iter__(self):
        return (self[i] for i in range(len(self)))


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

    `session.load` says what `target` and `options` may be and raises where they are not to be had. `size` is the
    input's (height, width). Raises ValueError for a model that is no YOLOv8 detector, such as a classifier.

    >>> from helpers import assets
    >>> xyxy, scores, classes = Detector(assets.model()).detect(assets.images()[0])
    >>> xyxy.shape[1], len(scores) == len(classes)
    (4, True)
    """

    def __init__(self, path, target: str = "cpu", **options):
        self.path, self.target = Path(path), target
        self.session = _session.load(path, target, **options)
        self.input, self.size = picture_input(self.session, path)
        outputs = [(o.name, o.shape) for o in self.session.get_outputs()]
        if head.of_outputs(outputs) is None and not head.is_decoded(outputs, self.size):
            shown = ", ".join(f"'{name}' {'×'.join(map(str, shape))}" for name, shape in outputs[:2])
            text = "is no YOLOv8 detector, whole or cut by `qdq.split_head`"
            raise ValueError(f"{path}: {text}: its outputs are {shown}{' …' * (len(outputs) > 2)}; give one.")
        meta = self.session.get_modelmeta().custom_metadata_map
        self.names: dict[int, str] = ast.literal_eval(meta.get("names", "{}"))

    def detect(self, image, conf: float = 0.25, iou: float = 0.7, max_det: int = 300):
        """Boxes of one picture as `(xyxy in its own pixels, scores, classes)`, best first."""
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else open_picture(image)
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
            parts = ([detector.detect(p, conf=0.001)] for p in pictures)
        else:
            shards = [pictures[i : i + 8] for i in range(0, len(pictures), 8)]
            parts = executor.map(_detect, *zip(*((path, target, options, s) for s in shards), strict=True))
        for part in parts:
            found += part
            bar.update(len(part))
    return average_precision(found, truths)


def _detect(path, target, options, pictures) -> list:
    detector = Detector(path, target, **options)
    return [detector.detect(p, conf=0.001) for p in pictures]
