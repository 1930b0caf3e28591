"""Any model: arrays in, arrays out, and how close two models' outputs are. The task of last resort."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from zipfile import BadZipFile

import numpy as np
from matplotlib.figure import Figure

from helpers import plot, targets
from helpers.boxes import Interval, interval, resampled
from helpers.error import sqnr_db
from helpers.graph import Feed, Model, ModelLike, StrPath
from helpers.tasks.feeds import FeedList
from helpers.tasks.task import Task

ARRAYS = {".npy", ".npz"}
Outputs = dict[str, np.ndarray]


class Noise(NamedTuple):
    """Share of the outputs' power that is error: Σ (a − b)² / Σ a², the mean over outputs; 0.01 is 20 dB."""

    noise: float

    @property
    def total(self) -> float:
        return self.noise


class ArrayFeeds(FeedList):
    """.npz files (an array for each input, by its name) or .npy files (the one input) as {input name: array}.

    One file is one feed; floats become the model's. Raises ValueError where there is no file, and where one does not
    hold the model's inputs in their shapes and types, when it is reached.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }')
    >>> path = getfixture("tmp_path") / "one.npy"
    >>> np.save(path, np.float32([1, 2]))
    >>> ArrayFeeds([path], net)[0]
    {'x': array([1., 2.], dtype=float32)}
    """

    def __init__(self, paths: Sequence[StrPath], model: ModelLike):
        self.paths = [Path(p) for p in paths]
        if not self.paths:
            raise ValueError("no inputs were given; name a folder that holds .npz or .npy files.")
        graph = Model.of(model)
        self._wanted = graph.input_types

    def read(self, path: StrPath) -> Outputs:
        """The feed that one file holds."""
        arrays, names = _arrays(path), list(self._wanted)
        if isinstance(arrays, np.ndarray):
            if len(names) != 1:
                text = f"holds one array, and the model has {len(names)} inputs: give an .npz with {', '.join(names)}"
                raise ValueError(f"{path}: {text}.")
            arrays = {names[0]: arrays}
        if set(arrays) != set(names):
            held = ", ".join(sorted(arrays)) or "nothing"
            raise ValueError(f"{path}: holds {held}; the model's inputs are {', '.join(names)}.")
        for name, (dtype, shape) in self._wanted.items():
            array = arrays[name]
            if array.dtype.kind == dtype.kind == "f":
                array = arrays[name] = array.astype(dtype)  # NumPy's own floats have 64 bits
            if array.dtype != dtype:
                text = f"'{name}' is {array.dtype}, and the model takes {dtype}; store it with `.astype(np.{dtype})`"
                raise ValueError(f"{path}: {text}.")
            if array.shape != shape:
                text = f"'{name}' is {_times(array.shape)}, and the model takes {_times(shape)}, one input a file"
                raise ValueError(f"{path}: {text}.")
        return arrays


def _arrays(path: StrPath) -> Outputs | np.ndarray:
    """What an array file holds: {name: array} of an .npz, the array of an .npy."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error):
        raise ValueError(f"{path}: not an array file; give what `numpy.save` or `numpy.savez` wrote.") from None


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"


class ArrayRunner:
    """A model on one target, from an input file to {output: array}; raises as `targets.load` and `ArrayFeeds` do."""

    def __init__(self, path: StrPath, target: str = "cpu", **options: Any):
        self.path, self.names = Path(path), dict[int, str]()
        self.session = targets.load(path, target, **options)
        self.outputs = [o.name for o in self.session.get_outputs()]
        self._inputs = ArrayFeeds([self.path], self.path)

    def results(self, image: StrPath) -> Outputs:
        """The model's outputs for one input file."""
        return dict(zip(self.outputs, self.session.run(None, self._inputs.read(image)), strict=True))


class Tensors(Task):
    """Outputs as they are: agreement is the SQNR and the cosine of the output that is off most."""

    name = "tensors"
    last_resort = True
    shown: ClassVar = {"sqnr_db": "SQNR of the outputs, dB", "cosine": "cosine of the outputs"}
    history: ClassVar = {"sqnr_db": "SQNR, dB", "cosine": "cosine"}
    drifts: ClassVar = {"noise": "noise: share of the outputs' power"}

    def recognise(self, model: Model) -> bool:
        return True

    def inputs(self, source: StrPath) -> list[Path]:
        """Every .npz and .npy file of a folder and its subfolders; ValueError where there is none."""
        folder = Path(source)
        if folder.is_file():
            return [folder]
        found = sorted(p for p in folder.rglob("*") if p.suffix in ARRAYS) if folder.is_dir() else []
        if not found:
            text = "how pictures become this model's inputs is not known, so store its inputs with `numpy.savez`"
            raise ValueError(f"{source}: holds no .npz or .npy files; {text}.")
        return found

    feeds = staticmethod(ArrayFeeds)
    runner = staticmethod(ArrayRunner)

    def count(self, results: Outputs) -> int:
        return 1

    def change(self, reference: Outputs, test: Outputs) -> float:
        signal, noise = np.sum([_sums(a, test[name])[:2] for name, a in reference.items()], 0)
        return float(noise / max(signal, np.finfo(float).tiny))

    def agreement(self, reference: Sequence[Outputs], test: Sequence[Outputs]) -> dict[str, Interval]:
        """SQNR, dB (infinite where nothing differs), and cosine of the output where each is least."""
        sums = [[_sums(a[name], b[name]) for name in a] for a, b in zip(reference, test, strict=True)]
        weights = resampled(len(reference), 200)
        signal, noise, cross, other = (weights @ part for part in np.array(sums, float).transpose(2, 0, 1))
        norms = np.sqrt(signal * other)
        with np.errstate(divide="ignore", invalid="ignore"):
            db = np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))
            cosine = np.where(norms == 0, signal == other, cross / norms)
        return {"sqnr_db": interval(db.min(1)), "cosine": interval(cosine.min(1))}

    def score(self, path: StrPath, inputs: Sequence[Path], target: str = "cpu") -> dict[str, float]:
        text = "nothing says what its outputs mean, so labels cannot score it; agreement is what there is"
        raise ValueError(f"{path}: {text}.")

    def picture(self, path: StrPath, reference: Outputs, test: Outputs, names: Mapping[int, str]) -> Figure:
        return plot.output_error(reference, test)

    def rows(self, reference: Outputs, test: Outputs, names: Mapping[int, str]) -> list[tuple]:
        rows: list[tuple] = [("output", "shape", "SQNR, dB")]
        for name, a in reference.items():
            rows.append((name, _times(a.shape), f"{sqnr_db(a, test[name]):.1f}"))
        return rows

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
        """The mean over outputs of Σ (a − b)² / Σ a², all feeds together."""
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
