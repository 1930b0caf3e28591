"""From a float model and inputs to a quantized one: the steps that are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from helpers import calibrate
from helpers.calibrate import Histogram
from helpers.graph import ModelLike, StrPath
from helpers.qdq.choose import AUTO, choose_method
from helpers.qdq.holdout import hold_back
from helpers.qdq.quantize import quantize_model
from helpers.tasks import recognise
from helpers.tasks.task import FeedList

_JUDGES = 20  # inputs at most that choose a method


class Quantized(NamedTuple):
    """What `calibrate_and_quantize` made: paths of both graphs, and what the ranges came from."""

    fp32: Path
    int8: Path
    ranges: dict[str, tuple[float, float]]
    histograms: dict[str, Histogram]
    feeds: FeedList
    method: str = ""  # its name in `calibrate.METHODS`, also where "auto" chose it


def calibrate_and_quantize(
    model: ModelLike,
    inputs: Sequence[Path],
    folder: StrPath,
    method: Any = "percentile",
    dtype: str = "uint8",
    weight: str = "int8",
) -> Quantized:
    """Prepare a model as its task says, observe it on `inputs`, choose ranges by `method`, quantize: all in `folder`.

    `model` may come from `tasks.settle`, which writes its task and preprocessing into it; `inputs` are files, pictures
    or arrays; `folder` gets fp32.onnx and int8.onnx; `method` is a name in `calibrate.METHODS`, a function
    (histogram, dtype) → (rmin, rmax), or "auto": the method that loses least on every third input, held back; `dtype`
    is the activations', `weight` the weights'.
    Ctrl-C ends it with nothing but fp32.onnx written.
    Raises ValueError as `Task.prepare`, `calibrate.observe` and `quantize_model` do.

    >>> from helpers import assets
    >>> made = calibrate_and_quantize(assets.model(), assets.images()[:1], getfixture("tmp_path"), "minmax")
    >>> made.int8.name, made.ranges["images"][1] <= 1
    ('int8.onnx', True)
    """
    folder, task = Path(folder), recognise(model)
    choose = None if method == AUTO else calibrate.method_named(method)
    fp32 = task.prepare(model, folder / "fp32.onnx")
    feeds = task.feeds(inputs, fp32)
    calibrating, judging = (feeds, None) if choose else hold_back(feeds, _JUDGES)
    histograms = calibrate.observe(fp32, calibrating, partial=False)
    if choose:
        name, ranges = getattr(choose, "name", str(method)), calibrate.ranges(histograms, choose, dtype)
    else:
        name, ranges, _ = choose_method(fp32, histograms, task, judging, activation=dtype, weight=weight)
    int8 = quantize_model(fp32, folder / "int8.onnx", ranges, activation=dtype, weight=weight)
    return Quantized(fp32, int8, ranges, histograms, feeds, name)
