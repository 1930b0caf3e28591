"""What a task is: what a model is for, images or arrays in, results out, and how two results are compared."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from matplotlib.figure import Figure

import helpers.tasks as package
from helpers.boxes import Interval
from helpers.calibrate import Histogram
from helpers.graph import Model, float_model

Range = tuple[float, float]


class Words(NamedTuple):
    """What people call one input and one result of a task, and many of them."""

    input: str = "input"
    inputs: str = "inputs"
    result: str = "output"
    results: str = "outputs"


class Task:
    """One kind of model. A file of this folder with a `TASK`, an instance of a subclass, is all it takes.

    `results` are what one input gives, in whatever form the task likes: only the task looks inside. `shown` names
    the keys of `agreement` that a table shows, with words for them; `drifts` those of a drift, with words.
    """

    name: ClassVar[str]
    last_resort: ClassVar[bool] = False  # recognises anything, so it is asked last
    scores: ClassVar[tuple[str, ...]] = ()  # the metrics of `score` that a table shows; none where nothing scores it
    shown: ClassVar[dict[str, str]]
    history: ClassVar[dict[str, str]]  # up to three of them with short words, which the workbench plots
    drifts: ClassVar[dict[str, str]]
    words: ClassVar[Words] = Words()  # what messages call its inputs and results

    def recognise(self, model: Model) -> bool:
        """Whether this graph, whole or prepared, is one of this task."""
        raise NotImplementedError

    def prepare(self, model, out) -> Path:
        """Write the float graph that is quantized to `out`: cut where one scale would serve two kinds of numbers."""
        return float_model(model).with_stored_constants().save(out)

    def inputs(self, source) -> list[Path]:
        """The files of a folder (or a name that `assets` knows) that hold this task's inputs, in order of name."""
        raise NotImplementedError

    def feeds(self, paths: Sequence, model):
        """The files as a re-iterable of {input name: array}, which has a length and gives feed k as `feeds[k]`."""
        raise NotImplementedError

    def runner(self, path, target: str = "cpu", **options):
        """A model on a target with `results(input file)` and `names` of classes; raises as `targets.load` does."""
        raise NotImplementedError

    def count(self, results) -> int:
        """How much there is to see in one input's results, to choose the one to look at first."""
        raise NotImplementedError

    def change(self, reference, test) -> float:
        """How much one input's results moved, to choose the one to show; 0 where nothing did."""
        raise NotImplementedError

    def agreement(self, reference: Sequence, test: Sequence) -> Mapping[str, Interval]:
        """How far `test`'s results are from `reference`'s on the same inputs, without labels."""
        raise NotImplementedError

    def score(self, path, inputs: Sequence, target: str = "cpu") -> dict[str, float]:
        """What labels say of a model, {metric: 0…1}; ValueError or FileNotFoundError where there are none."""
        raise NotImplementedError

    def picture(self, path, reference, test, names: Mapping[int, str]) -> Figure:
        """One input with both results: what changed between them."""
        raise NotImplementedError

    def rows(self, reference, test, names: Mapping[int, str]) -> list[tuple]:
        """The same as a table, its head first."""
        raise NotImplementedError

    def output_ranges(self, model: Model, histograms: Mapping[str, Histogram]) -> dict[str, Range]:
        """Ranges of outputs by what the results need of them; empty where nothing is known."""
        return {}

    def wide_first(self, model: Model) -> list[list[str]]:
        """Groups of tensors that a search for 16-bit tensors tries beside the blocks that it finds itself."""
        return []

    def reference_outputs(self, fp32, feeds: Iterable[dict]) -> Any:
        """What `drift_against` needs of the float model on these feeds; ValueError where it gives nothing to judge."""
        raise NotImplementedError

    def drift_against(self, reference: Any, qdq_model, feeds: Iterable[dict], target: str = "cpu"):
        """How far a quantized model drifts: a NamedTuple with the fields of `drifts` and their sum, `total`."""
        raise NotImplementedError


@functools.cache
def registry() -> list[Task]:
    """Every task that a file of this folder holds, those of last resort last."""
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return sorted((m.TASK for m in modules if hasattr(m, "TASK")), key=lambda task: (task.last_resort, task.name))


def recognise(model) -> Task:
    """The task of a model (a path, a ModelProto or a `graph.Model`): the first that recognises its graph.

    Raises FileNotFoundError or ValueError as `graph.read_model` does.

    >>> from helpers import assets
    >>> recognise(assets.model()).name
    'detection'
    """
    graph = Model.of(model)
    return next(task for task in registry() if task.recognise(graph))


def named(name: str) -> Task:
    """The task of that name; ValueError that lists them."""
    for task in registry():
        if task.name == name:
            return task
    raise ValueError(f"task '{name}' is unknown; choose one of {', '.join(task.name for task in registry())}.")
