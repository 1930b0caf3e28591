"""One class for each input: top-1 and top-5, against labels and against the float model."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from helpers import assets, plot
from helpers.boxes import Interval, interval, resampled
from helpers.graph import Model, ModelLike, StrPath
from helpers.tasks.inputs import is_picture
from helpers.tasks.interface import Interface
from helpers.tasks.proposal import class_of_picture, class_output
from helpers.tasks.task import Words
from helpers.tasks.tensors import Outputs, Tensors

LABELS = "labels.csv"  # in the inputs' folder: file,class number
_TOP = 5


class Labels(NamedTuple):
    """The class of each input; `folders`: how many folders were counted to get it, None where numbers were written."""

    classes: list[int]
    folders: int | None


def labels(inputs: Sequence[Path]) -> Labels:
    """The class of each input; FileNotFoundError where nothing tells it.

    From labels.csv beside the inputs (a line `file,class number` each), or from folders, one a class: a folder's class
    is its number in order of name, as torchvision's ImageFolder counts, or its name where all names are numbers.

    >>> from helpers import assets
    >>> labels(assets.images()[:2])
    Traceback (most recent call last):
    FileNotFoundError: ...: has no labels; sort the inputs into a folder for each class, or add labels.csv.
    """
    root = Path(os.path.commonpath([p.absolute().parent for p in inputs]))
    if (root / LABELS).is_file():
        known = _from_csv(root / LABELS)
        if missing := [p for p in inputs if p.name not in known]:
            raise ValueError(f"{root / LABELS}: has no line for {missing[0].name}; add 'file,class number'.")
        return Labels([known[p.name] for p in inputs], None)
    places = [p.absolute().relative_to(root).parts for p in inputs]
    if any(len(parts) < 2 for parts in places):
        text = "has no labels; sort the inputs into a folder for each class, or add labels.csv"
        raise FileNotFoundError(f"{root}: {text}.")
    names = sorted(d.name for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    if all(name.isdecimal() for name in names):
        return Labels([int(parts[0]) for parts in places], None)
    return Labels([names.index(parts[0]) for parts in places], len(names))


def _from_csv(path: Path) -> dict[str, int]:
    """{file name: class number}; a first line that holds no number is a head."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        body = rows if rows and rows[0][1].strip().isdecimal() else rows[1:]
        return {Path(row[0].strip()).name: int(row[1]) for row in body}
    except (IndexError, ValueError):
        raise ValueError(f"{path}: a line is not 'file,class number'; write one such line for each input.") from None


def probabilities(scores: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Scores of K classes as shares of 1: themselves where `like` (or they) add up to 1, else their softmax.

    >>> probabilities(np.array([0.0, 0.0])), probabilities(np.array([0.2, 0.8]))
    (array([0.5, 0.5]), array([0.2, 0.8]))
    """
    judge = scores if like is None else like
    if judge.min() >= 0 and abs(judge.sum() - 1) < 0.02:
        return scores
    shifted = np.exp(np.asarray(scores, np.float64) - scores.max())
    return shifted / shifted.sum()


def _scores(results: Outputs) -> np.ndarray:
    """Scores of the classes, K long: the first output."""
    return np.asarray(next(iter(results.values())), np.float64).ravel()


def _hit(scores: np.ndarray, label: int, top: int) -> bool:
    """Whether `label` is among the `top` best classes; of equal scores the lower number counts."""
    return bool((np.argsort(-scores, kind="stable")[:top] == label).any())


class Classification(Tensors):
    """A classifier: results are its outputs, the first of which holds a score for each class."""

    name = "classification"
    last_resort = False
    by_shape = True
    words = Words("input", "inputs", "class", "classes")
    scores = ("top1", "top5")
    shown: ClassVar = {
        "top1": "same best class as FP32, share",
        "top5": "FP32's best class among the best five, share",
        **Tensors.shown,
    }
    history: ClassVar = {"top1": "top-1 agreement", "sqnr_db": "SQNR, dB"}

    def recognise(self, model: Model) -> bool:
        return class_of_picture(Interface.of(model)) is not None

    def prepare(self, model: ModelLike, out: StrPath) -> Path:
        """As `Task.prepare`; ValueError too for a model whose first output is not 1×K."""
        graph = Model.of(model)
        if class_output(Interface.of(graph)) is None:
            text = "is no classifier: its first output is not 1×K with K ≥ 2; leave `--task` out, or give `tensors`"
            raise ValueError(f"{graph}: {text}.")
        return super().prepare(graph, out)

    def agreement(self, reference: Sequence[Outputs], test: Sequence[Outputs]) -> dict[str, Interval]:
        """`Tensors.agreement`, and how often the best class stays: first (top1), or among the five best (top5)."""
        pairs = [(_scores(a).argmax(), _scores(b)) for a, b in zip(reference, test, strict=True)]
        weights = resampled(len(pairs), 200)
        kept = np.array([[_hit(scores, int(best), top) for top in (1, _TOP)] for best, scores in pairs], float)
        share = weights @ kept / weights.sum(1, keepdims=True)
        tops = {key: interval(share[:, k]) for k, key in enumerate(("top1", "top5"))}
        return tops | super().agreement(reference, test)

    def truths(self, inputs: Sequence[Path]) -> Labels:
        return labels(inputs)

    def score_results(self, results: Sequence[Outputs], truths: Labels) -> dict[str, float]:
        """Top-1 and top-5 accuracy; FileNotFoundError where the labels are of another number of classes."""
        count = _scores(results[0]).size
        if truths.folders not in (None, count) or max(truths.classes) >= count:
            known = truths.folders or max(truths.classes) + 1
            text = f"the labels know {known} classes and the model {count}, so they are not its own"
            raise FileNotFoundError(f"{text}; name each folder by its class's number, or add labels.csv.")
        pairs = zip(results, truths.classes, strict=True)
        hits = [[_hit(_scores(r), c, top) for top in (1, _TOP)] for r, c in pairs]
        top1, top5 = np.mean(hits, 0).tolist()
        return {"top1": top1, "top5": top5}

    def rows(self, reference: Outputs, test: Outputs, names: Mapping[int, str]) -> list[tuple]:
        """FP32's five best classes, and what became of them."""
        a = probabilities(_scores(reference))
        b = probabilities(_scores(test), _scores(reference))
        found: list[tuple] = [("class", "FP32 → INT8", "change")]
        for c in np.argsort(-a, kind="stable")[:_TOP].tolist():
            found.append((names.get(c, c), f"{a[c]:.3f} → {b[c]:.3f}", f"{b[c] - a[c]:+.3f}"))
        return found

    def picture(self, path: StrPath, reference: Outputs, test: Outputs, names: Mapping[int, str]) -> Figure:
        """The picture beside bars of its best classes."""
        a, b = _scores(reference), _scores(test)
        image = assets.open_image(path) if is_picture(Path(path)) else None
        return plot.class_bars(image, probabilities(a), probabilities(b, a), names)


TASK = Classification()
