"""Any model: arrays or pictures in, arrays out, and how close two models' outputs are. The task of last resort."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from helpers import plot, targets
from helpers.boxes import Interval, interval, resampled
from helpers.error import power_sums, sqnr_db
from helpers.graph import Feed, Model, StrPath
from helpers.tasks.arrays import ArrayFeeds
from helpers.tasks.feeds import FeedList, Feeds
from helpers.tasks.inputs import is_picture, pictures_or_arrays
from helpers.tasks.interface import Interface, class_names, times
from helpers.tasks.preprocessing import Preprocessing
from helpers.tasks.proposal import preprocessing
from helpers.tasks.task import Task

Outputs = dict[str, np.ndarray]


class Noise(NamedTuple):
    """Share of the outputs' power that is error: Σ (a − b)² / Σ a², the mean over outputs; 0.01 is 20 dB."""

    noise: float

    @property
    def total(self) -> float:
        return self.noise


def any_feeds(paths: Sequence[StrPath], model: StrPath) -> FeedList:
    """Pictures, files or open ones, or array files as a model's feeds; raises as `Feeds` and `ArrayFeeds` do."""
    if len(paths) and (not isinstance(paths[0], (str, os.PathLike)) or is_picture(Path(paths[0]))):
        return Feeds(paths, model)
    return ArrayFeeds(paths, model)


class OutputRunner:
    """A model on one target, from an input file to {output: array}; raises as `targets.load` and the feeds do.

    `names` are those of the classes, where the model's metadata tells them.
    """

    def __init__(self, path: StrPath, target: str = "cpu", **options: Any):
        self.path = Path(path)
        self.session = targets.load(path, target, **options)
        self.interface = Interface.of_session(self.session, path)
        self.names = class_names(self.interface)
        self.outputs = list(self.interface.outputs)
        self._arrays: ArrayFeeds | None = None

    @functools.cached_property
    def preprocessing(self) -> Preprocessing:
        """How pictures become the input."""
        return preprocessing(self.interface)

    def feed(self, path: StrPath) -> Feed:
        """What the model is fed for one file."""
        if is_picture(Path(path)):
            return {self.preprocessing.input: self.preprocessing(path).x}
        if self._arrays is None:
            self._arrays = ArrayFeeds([path], self.path)
        return self._arrays.read(path)

    def results(self, image: StrPath) -> Any:
        """The model's outputs for one input file."""
        return dict(zip(self.outputs, self.session.run(None, self.feed(image)), strict=True))


class OutputTask(Task):
    """A task whose inputs are pictures or arrays, and whose drift is that of its outputs as they are."""

    drifts: ClassVar = {"noise": "noise: share of the outputs' power"}
    inputs = staticmethod(pictures_or_arrays)
    feeds = staticmethod(any_feeds)

    def reference_outputs(self, fp32: Model | StrPath, feeds: Iterable[Feed]) -> list[list[np.ndarray]]:
        """The float model's outputs for each feed; ValueError where one of them is not finite."""
        session, found = targets.load(fp32, optimize=True), []
        for k, feed in enumerate(feeds):
            found.append(session.run(None, feed))
            if not all(np.isfinite(a).all() for a in found[-1]):
                text = "so nothing can be judged by it; leave it out"
                raise ValueError(f"the float model gives NaN or inf for input {k}, {text}.")
        return found

    def drift_against(
        self,
        reference: list[list[np.ndarray]],
        qdq_model: Model | StrPath,
        feeds: Iterable[Feed],
        target: str = "cpu",
        /,
    ) -> Noise:
        """The mean over outputs of Σ (a − b)² / Σ a², all feeds together; without those that are all zeros."""
        session, sums = targets.load(qdq_model, target, **targets.get(target).quickly), []
        for before, feed in zip(reference, feeds, strict=True):
            sums.append([power_sums(a, b)[:2] for a, b in zip(before, session.run(None, feed), strict=True)])
        signal, noise = np.sum(sums, 0).T
        speaks = signal > 0
        return Noise(float(np.mean(noise[speaks] / signal[speaks])) if speaks.any() else 0.0)


class Tensors(OutputTask):
    """Outputs as they are: agreement is the SQNR and the cosine of the output that is off most."""

    name = "tensors"
    last_resort = True
    shown: ClassVar = {"sqnr_db": "SQNR of the outputs, dB", "cosine": "cosine of the outputs"}
    history: ClassVar = {"sqnr_db": "SQNR, dB", "cosine": "cosine"}

    def recognise(self, model: Model) -> bool:
        return True

    runner = staticmethod(OutputRunner)

    def count(self, results: Outputs) -> int:
        return 1

    def change(self, reference: Outputs, test: Outputs) -> float:
        signal, noise = np.sum([power_sums(a, test[name])[:2] for name, a in reference.items()], 0)
        return float(noise / max(signal, np.finfo(float).tiny))

    def agreement(self, reference: Sequence[Outputs], test: Sequence[Outputs]) -> dict[str, Interval]:
        """SQNR, dB (infinite where nothing differs), and cosine of the output where each is least.

        An output that is one constant value says nothing and is left out; NaN where no other is left.
        """
        sums = [[power_sums(a[name], b[name]) for name in a] for a, b in zip(reference, test, strict=True)]
        found = np.array(sums, float).transpose(2, 0, 1)
        speaks = [not is_constant([a[name] for a in reference]) for name in reference[0]]
        if not any(speaks):
            return dict.fromkeys(Tensors.shown, interval(np.full(2, np.nan)))
        weights = resampled(len(reference), 200)
        signal, noise, cross, other = (weights @ part[:, speaks] for part in found)
        norms = np.sqrt(signal * other)
        with np.errstate(divide="ignore", invalid="ignore"):
            db = np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))
            cosine = np.where(norms == 0, signal == other, cross / norms)
        return {"sqnr_db": interval(db.min(1)), "cosine": interval(cosine.min(1))}

    def truths(self, inputs: Sequence[Path]) -> Any:
        text = "nothing says what its outputs mean, so labels cannot score it; agreement is what there is"
        raise ValueError(f"a model of task '{self.name}': {text}.")

    def picture(self, path: StrPath, reference: Outputs, test: Outputs, names: Mapping[int, str]) -> Figure:
        return plot.output_error(reference, test)

    def rows(self, reference: Outputs, test: Outputs, names: Mapping[int, str]) -> list[tuple]:
        rows: list[tuple] = [("output", "shape", "SQNR, dB")]
        for name, a in reference.items():
            rows.append((name, times(a.shape), f"{sqnr_db(a, test[name]):.1f}"))
        return rows


def is_constant(arrays: Sequence[np.ndarray]) -> bool:
    """Whether all values of all arrays are the same, so that a ratio to their error says nothing.

    >>> is_constant([np.zeros(3), np.zeros(2)]), is_constant([np.arange(3)])
    (True, False)
    """
    values = [np.asarray(a).ravel() for a in arrays if np.size(a)]
    return all(bool((v == values[0][0]).all()) for v in values)


TASK = Tensors()
