"""A class for each pixel: the mean IoU of masks, against labels and against the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from helpers import assets, plot
from helpers.boxes import Interval, interval, resampled
from helpers.graph import Model, ModelLike, StrPath
from helpers.tasks.inputs import is_picture, pictures_or_arrays
from helpers.tasks.interface import Interface
from helpers.tasks.preprocessing import fit
from helpers.tasks.proposal import class_of_pixels, pixel_output
from helpers.tasks.task import Words
from helpers.tasks.tensors import OutputRunner, OutputTask

IGNORED = 255  # in a mask: a pixel that does not count


class Mask(NamedTuple):
    """`classes` H×W, of `known` classes; the picture was brought to `size` by `resize`, as `preprocessing.fit` does."""

    classes: np.ndarray
    known: int
    size: tuple[int, int]
    resize: str


_NOT_ONE = "is no segmentation: its first output is not 1×K×H×W; leave `--task` out, or give `tensors`"


class SegmentationRunner(OutputRunner):
    """A segmentation on one target, from an input file to its `Mask`; ValueError where the output is not 1×K×H×W."""

    def __init__(self, path: StrPath, target: str = "cpu", **options: Any):
        super().__init__(path, target, **options)
        answer = pixel_output(self.interface)
        if answer is None:
            raise ValueError(f"{path}: {_NOT_ONE}.")
        self._answer = answer

    def results(self, image: StrPath) -> Mask:
        """The class of each pixel of the first output: the one with the largest score."""
        answer, outputs = self._answer, super().results(image)
        classes = outputs[answer.output].argmax(answer.axis)[0]
        kind = np.uint8 if answer.classes <= 256 else np.uint16
        return Mask(classes.astype(kind), answer.classes, self.preprocessing.size, self.preprocessing.resize)


def mask_of(path: Path) -> Path:
    """The PNG with a picture's true classes (images/ → masks/); FileNotFoundError where there is none.

    >>> mask_of(Path("nowhere/a.jpg"))
    Traceback (most recent call last):
    FileNotFoundError: nowhere/a.jpg: has no mask; masks are PNGs in a folder masks/ beside images/.
    """
    parts = list(path.parts)
    last = len(parts) - 1 - parts[::-1].index("images") if "images" in parts else 0
    beside = Path(*parts[:last], "masks", *parts[last + 1 :]).with_suffix(".png")
    if "images" not in parts or not beside.is_file():
        raise FileNotFoundError(f"{path}: has no mask; masks are PNGs in a folder masks/ beside images/.")
    return beside


def read_mask(path: Path, like: Mask) -> np.ndarray:
    """True classes at the model's size, H×W, `IGNORED` where nothing counts; ValueError for what holds no classes."""
    with Image.open(path) as opened:
        if opened.mode not in ("1", "L", "P"):
            text = "has several channels; a mask is a grey or palette PNG whose pixels are class numbers"
            raise ValueError(f"{path}: {text}.")
        held = np.asarray(opened).astype(np.uint8)
    known = np.unique(held[held != IGNORED])
    if known.size and known[-1] >= like.known:
        raise ValueError(f"{path}: holds class {known[-1]}, and the model has {like.known}; write its own numbers.")
    if set(known.tolist()) <= {0} and (held == IGNORED).any():
        text = f"holds only 0 and {IGNORED}, which means 'does not count'; write class numbers"
        raise ValueError(f"{path}: {text}.")
    return np.asarray(fit(Image.fromarray(held), like.size, like.resize, around=IGNORED, nearest=True).canvas)


def _overlaps(truth: np.ndarray, test: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels of both, pixels of either) of each class."""
    table = np.bincount(truth.astype(np.int64) * count + test, minlength=count**2).reshape(count, count)
    both = np.diag(table)
    return both, table.sum(0) + table.sum(1) - both


def _mean_iou(both: np.ndarray, either: np.ndarray) -> np.ndarray:
    """The mean over classes that occur of both/either; the last axis is the classes'."""
    iou = np.divide(both, either, out=np.zeros(both.shape), where=either > 0)
    return iou.sum(-1) / (either > 0).sum(-1)


class Segmentation(OutputTask):
    """A segmentation: results are the `Mask` of its first output, 1×K×H×W."""

    name = "segmentation"
    by_shape = True
    words = Words("input", "inputs", "mask", "masks")
    scores = ("mIoU", "pixels")
    shown: ClassVar = {"mask_iou": "IoU with FP32's masks, mean of classes", "pixels": "pixels of FP32's class, share"}
    history: ClassVar = {"mask_iou": "mean IoU", "pixels": "equal pixels"}
    runner = staticmethod(SegmentationRunner)

    def recognise(self, model: Model) -> bool:
        return class_of_pixels(Interface.of(model)) is not None

    def prepare(self, model: ModelLike, out: StrPath) -> Path:
        """As `Task.prepare`; ValueError too for a model whose first output is not 1×K×H×W."""
        graph = Model.of(model)
        if pixel_output(Interface.of(graph)) is None:
            raise ValueError(f"{graph}: {_NOT_ONE}.")
        return super().prepare(graph, out)

    def inputs(self, source: StrPath) -> list[Path]:
        """As every task's; pictures in a folder masks/ beside images/ are labels."""
        found = pictures_or_arrays(source)
        return [p for p in found if "masks" not in p.parts or "images" in p.parts] or found

    def agreement(self, reference: Sequence[Mask], test: Sequence[Mask]) -> dict[str, Interval]:
        """The mean IoU of the masks, over classes that occur, and the share of pixels whose class is FP32's."""
        count = max(mask.known for mask in reference)
        pairs = zip(reference, test, strict=True)
        found = [_overlaps(a.classes.ravel(), b.classes.ravel(), count) for a, b in pairs]
        both, either = (resampled(len(found), 200) @ np.array(part, float) for part in zip(*found, strict=True))
        pixels = resampled(len(found), 200) @ np.array([float(a.classes.size) for a in reference])
        return {"mask_iou": interval(_mean_iou(both, either)), "pixels": interval(both.sum(1) / pixels)}

    def truths(self, inputs: Sequence[Path]) -> list[Path]:
        return [mask_of(path) for path in inputs]

    def score_results(self, results: Sequence[Mask], truths: Sequence[Path]) -> dict[str, float]:
        """Mean IoU over classes that occur, and the share of pixels that are right; at the size of the input."""
        known = results[0].known
        both, either, pixels = np.zeros(known, int), np.zeros(known, int), 0
        for mask, path in zip(results, truths, strict=True):
            true = read_mask(path, mask)
            size = mask.size[1], mask.size[0]
            found = np.asarray(Image.fromarray(mask.classes).resize(size, Image.Resampling.NEAREST))
            counts = true != IGNORED
            one, other = _overlaps(true[counts], found[counts], mask.known)
            both, either, pixels = both + one, either + other, pixels + int(counts.sum())
        return {"mIoU": float(_mean_iou(both, either)), "pixels": float(both.sum() / max(pixels, 1))}

    def count(self, results: Mask) -> int:
        return len(np.unique(results.classes))

    def change(self, reference: Mask, test: Mask) -> float:
        return float((reference.classes != test.classes).mean())

    def rows(self, reference: Mask, test: Mask, names: Mapping[int, str]) -> list[tuple]:
        """Each class that occurs: its pixels in FP32 and INT8, and how far the two overlap."""
        both, either = _overlaps(reference.classes.ravel(), test.classes.ravel(), reference.known)
        found: list[tuple] = [("class", "pixels, FP32 → INT8", "IoU")]
        for c in np.flatnonzero(either).tolist():
            before, after = ((m.classes == c).sum() for m in (reference, test))
            found.append((names.get(c, c), f"{before} → {after}", f"{both[c] / either[c]:.3f}"))
        return found

    def picture(self, path: StrPath, reference: Mask, test: Mask, names: Mapping[int, str]) -> Figure:
        image = None
        if is_picture(Path(path)):
            image = fit(assets.open_image(path), reference.size, reference.resize).canvas
        iou = self.agreement([reference], [test])["mask_iou"].value
        return plot.masks(image, reference.classes, test.classes, iou)


TASK = Segmentation()
