"""Any model: arrays in, arrays out, and how close two models' outputs are. The task of last resort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple
from zipfile import BadZipFile

import numpy as np
from matplotlib.figure import Figure

from helpers import plot, targets
from helpers.boxes import Interval, interval, resampled
from helpers.graph import Model
from helpers.tasks.task import Task

ARRAYS = {".npy", ".npz"}


class Noise(NamedTuple):
    """Share of the outputs' power that is error: Σ (a − b)² / Σ a², the mean over outputs; 0.01 is 20 dB.

    >>> Noise(0.01).total
    0.01
    """

    noise: float

    @property
    def total(self) -> float:
        return self.noise


class ArrayFeeds:
    """.npz files (an array for each input, by its name) or .npy files (the one input) as {input name: array}.

    Read one at a time, and again at each pass. Raises ValueError that names the file: not an array, an input missing
    or not the model's, an .npy for a model of several inputs.
    """

    def __init__(self, paths: Sequence, model):
        self.paths = [Path(p) for p in paths]
        if not self.paths:
            raise ValueError("no inputs were given; name a folder that holds .npz or .npy files.")
        self.names = list(Model.of(model).inputs)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        path = self.paths[index]
        try:
            loaded = np.load(path, allow_pickle=False)
            found = dict(loaded) if path.suffix == ".npz" else {"": loaded}
        except (OSError, ValueError, BadZipFile):
            raise ValueError(f"{path}: not an array file; give what `numpy.save` or `numpy.savez` wrote.") from None
        if path.suffix == ".npy":
            if len(self.names) != 1:
                inputs = ", ".join(self.names)
                raise ValueError(
                    f"{path}: holds one array, and the model has {len(self.names)} inputs: give an .npz with {inputs}."
                )
            found = {self.names[0]: found[""]}
        if set(found) != set(self.names):
            raise ValueError(
                f"{path}: holds {', '.join(sorted(found))}; the model's inputs are {', '.join(self.names)}."
            )
        return found


class Runner:
    """A model on one target, from an input file to {output: array}."""

    def __init__(self, path, target: str = "cpu", **options):
        self.path, self.names = Path(path), {}
        self.session = targets.load(path, target, **options)
        self.outputs = [o.name for o in self.session.get_outputs()]
        self._model = Model.of(path)

    def results(self, path) -> dict[str, np.ndarray]:
        """The model's outputs for one input file."""
        feed = ArrayFeeds([path], self._model)[0]
        return dict(zip(self.outputs, self.session.run(None, feed), strict=True))


class Tensors(Task):
    """Outputs as they are: agreement is their SQNR and cosine."""

    name = "tensors"
    last_resort = True
    shown: ClassVar = {"sqnr_db": "SQNR of the outputs, dB", "cosine": "cosine of the outputs"}
    history: ClassVar = {"sqnr_db": "SQNR, dB", "cosine": "cosine"}
    drifts: ClassVar = {"noise": "noise: share of the outputs' power"}

    def recognise(self, model: Model) -> bool:
        return True

    def inputs(self, source) -> list[Path]:
        folder = Path(source)
        if folder.is_file():
            return [folder]
        found = sorted(p for p in folder.rglob("*") if p.suffix in ARRAYS) if folder.is_dir() else []
        if not found:
            text = (
                "holds no .npz or .npy files; how pictures become this model's inputs is not known, so store its inputs"
            )
            raise ValueError(f"{source}: {text} with `numpy.savez`.")
        return found

    def feeds(self, paths, model) -> ArrayFeeds:
        return ArrayFeeds(paths, model)

    def runner(self, path, target: str = "cpu", **options) -> Runner:
        return Runner(path, target, **options)

    def count(self, results) -> int:
        return 1

    def change(self, reference, test) -> float:
        signal, noise = np.sum([_sums(a, test[name])[:2] for name, a in reference.items()], 0)
        return float(noise / max(signal, np.finfo(float).tiny))

    def agreement(self, reference, test) -> Mapping[str, Interval]:
        signal, noise, cross, other = np.array(
            [[_sums(a[t], b[t]) for t in a] for a, b in zip(reference, test, strict=True)], float
        ).transpose(2, 0, 1)
        weights = resampled(len(reference), 200)
        with np.errstate(divide="ignore", invalid="ignore"):
            db = 10 * np.log10((weights @ signal) / (weights @ noise))
            cosine = (weights @ cross) / np.sqrt((weights @ signal) * (weights @ other))
        return {"sqnr_db": interval(db.min(1)), "cosine": interval(cosine.min(1))}

    def score(self, path, inputs, target: str = "cpu") -> dict[str, float]:
        raise ValueError(
            f"{path}: nothing says what its outputs mean, so labels cannot score it; agreement is what there is."
        )

    def picture(self, path, reference, test, names) -> Figure:
        return plot.output_error(reference, test)

    def rows(self, reference, test, names) -> list[tuple]:
        rows: list[tuple] = [("output", "shape", "SQNR, dB")]
        for name, a in reference.items():
            signal, noise, *_ = _sums(a, test[name])
            db = 10 * np.log10(signal / noise) if signal and noise else np.inf
            rows.append((name, "×".join(map(str, a.shape)), f"{db:.1f}"))
        return rows

    def reference_outputs(self, fp32, feeds) -> list[list[np.ndarray]]:
        session = targets.load(fp32, optimize=True)
        return [session.run(None, feed) for feed in feeds]

    def drift_against(self, reference, qdq_model, feeds, target: str = "cpu") -> Noise:
        session, sums = targets.load(qdq_model, target, **targets.get(target).quickly), []
        for before, feed in zip(reference, feeds, strict=True):
            sums.append([_sums(a, b)[:2] for a, b in zip(before, session.run(None, feed), strict=True)])
        signal, noise = np.sum(sums, 0).T
        return Noise(float(np.mean(noise / np.maximum(signal, np.finfo(float).tiny))))


def _sums(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float, float]:
    """(Σ a², Σ (a − b)², Σ a·b, Σ b²)."""
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    return float(a @ a), float((a - b) @ (a - b)), float(a @ b), float(b @ b)


TASK = Tensors()
