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
from helpers.graph import Feed, Model, ModelLike, StrPath, float_model
from helpers.tasks.feeds import FeedList

Range = tuple[float, float]
KEY = "int8_npu_task"  # in a model's metadata, since `quantize`


class Words(NamedTuple):
    """What people call one input and one result of a task, and many of them."""

    input: str = "input"
    inputs: str = "inputs"
    result: str = "output"
    results: str = "outputs"


class Task:
    """One kind of model. A file of this folder with a `TASK`, an instance of a subclass, is all it takes.

    Write the methods in their order here; only the task looks inside its `results`, whatever their form. Where they
    are a model's outputs as they are, derive from `tensors.Tensors` and write what differs.
    """

    name: ClassVar[str]
    last_resort: ClassVar[bool] = False  # recognises anything, so it is asked last
    by_shape: ClassVar[bool] = False  # recognises by an output's shape alone, so it is asked after those that know more
    examples: ClassVar[str | None] = None  # inputs that `assets` holds for it, where none are named
    scores: ClassVar[tuple[str, ...]] = ()  # the metrics of `score` that a table shows; none where nothing scores it
    shown: ClassVar[dict[str, str]]  # the keys of `agreement` that a table shows, with words for them
    history: ClassVar[dict[str, str]]  # up to three of them with short words, which the workbench plots
    drifts: ClassVar[dict[str, str]]  # the fields of a drift, with words for them
    words: ClassVar[Words] = Words()  # what messages call its inputs and results

    def recognise(self, model: Model) -> bool:
        """Whether this graph, whole or prepared, is one of this task."""
        raise NotImplementedError

    def prepare(self, model: ModelLike, out: StrPath) -> Path:
        """Write the float graph that is quantized to `out`: cut where one scale would serve two kinds of numbers.

        Raises ValueError for a model that is quantized already.
        """
        return float_model(model).with_stored_constants().save(out)

    def inputs(self, source: StrPath, /) -> list[Path]:
        """A folder's files that hold inputs, in order of name; FileNotFoundError or ValueError where there are none."""
        raise NotImplementedError

    def feeds(self, paths: Sequence[Path], model: StrPath) -> FeedList:
        """The files as {input name: array}."""
        raise NotImplementedError

    def runner(self, path: StrPath, target: str = "cpu", **options: Any) -> Any:
        """A model on a target: `results(path)` of an input file, and `names` of the classes, if any."""
        raise NotImplementedError

    def count(self, results: Any) -> int:
        """How much there is to see in one input's results, to choose the one to look at first."""
        raise NotImplementedError

    def change(self, reference: Any, test: Any) -> float:
        """How much one input's results moved, to choose the one to show; 0 where nothing did."""
        raise NotImplementedError

    def agreement(self, reference: Sequence[Any], test: Sequence[Any]) -> Mapping[str, Interval]:
        """How far `test`'s results are from `reference`'s on the same inputs, without labels."""
        raise NotImplementedError

    def truths(self, inputs: Sequence[Path], /) -> Any:
        """The labels of these inputs; FileNotFoundError where there are none."""
        raise NotImplementedError

    def score_results(self, results: Sequence[Any], truths: Any, /) -> dict[str, float]:
        """What labels say of results, {metric: 0…1}."""
        raise NotImplementedError

    def score(self, path: StrPath, inputs: Sequence[Path], target: str = "cpu", /) -> dict[str, float]:
        """What labels say of a model, {metric: 0…1}; FileNotFoundError where there are none."""
        truths, runner = self.truths(inputs), self.runner(path, target)
        return self.score_results([runner.results(p) for p in inputs], truths)

    def picture(self, path: StrPath, reference: Any, test: Any, names: Mapping[int, str], /) -> Figure:
        """One input with both results: what changed between them."""
        raise NotImplementedError

    def rows(self, reference: Any, test: Any, names: Mapping[int, str]) -> list[tuple]:
        """The same as a table, its head first."""
        raise NotImplementedError

    def reference_outputs(self, fp32: Model | StrPath, feeds: Iterable[Feed]) -> Any:
        """What `drift_against` needs of the float model on these feeds; ValueError where it gives nothing to judge."""
        raise NotImplementedError

    def drift_against(
        self, reference: Any, qdq_model: Model | StrPath, feeds: Iterable[Feed], target: str = "cpu", /
    ) -> Any:
        """A NamedTuple with the fields of `drifts`, and `total`: how far a quantized model is from its float one."""
        raise NotImplementedError

    def output_ranges(self, model: Model, histograms: Mapping[str, Histogram]) -> dict[str, Range]:
        """Ranges of outputs by what the results need of them; empty where nothing is known."""
        return {}

    def wide_first(self, model: Model) -> list[list[str]]:
        """Groups of tensors that a search for 16-bit tensors tries beside the blocks that it finds itself."""
        return []


@functools.cache
def registry() -> list[Task]:
    """Every task that a file of this folder holds, those that go by shape late and those of last resort last.

    >>> registry()[-1].name
    'tensors'
    """
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    found = [module.TASK for module in modules if hasattr(module, "TASK")]
    return sorted(found, key=lambda task: (task.last_resort, task.by_shape, task.name))


def recognise(model: ModelLike) -> Task:
    """The task of a model: the one that its metadata names, else the first that recognises its graph.

    Raises FileNotFoundError or ValueError as `graph.read_model` and `named` do.

    >>> from helpers import assets
    >>> recognise(assets.model()).name
    'detection'
    """
    graph = Model.of(model)
    if KEY in graph.metadata:
        return named(graph.metadata[KEY])
    return next(task for task in registry() if task.recognise(graph))


def named(name: str) -> Task:
    """The task of that name; ValueError that lists them.

    >>> named("tensors").last_resort
    True
    """
    tasks = {task.name: task for task in registry()}
    if name not in tasks:
        raise ValueError(f"task '{name}' is unknown; choose one of {', '.join(tasks)}.")
    return tasks[name]
