"""From a float model and a folder of inputs to an INT8 model."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers import assets, calibrate, graph, qdq, repair, tasks
from helpers.workbench.commands import _preprocessing
from helpers.workbench.commands._inputs import add_shape, listed, pick, positive, prepared

TRUST = "load a .pt of any origin: it is a pickle, and loading it runs whatever code its maker put in it"
LARGE = ("fp32.onnx.data", "int8.onnx.data")  # where the weights of a model above 2 GiB lie
QUANTIZED = ("fp32.onnx", "int8.onnx", *LARGE, "ranges.json", "report.json", "report.png")


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="an ONNX file, or yolov8n")
    inputs = "a folder of pictures, or of .npz or .npy files, one input each; or coco128"
    command.add_argument("--calibrate", metavar="FOLDER", help=inputs)
    command.add_argument("--limit", type=positive, default=32, help="how many, spread over the folder (32)")
    kinds = ["auto", *(task.name for task in tasks.registry())]
    command.add_argument("--task", choices=kinds, default="auto", help="what it is for (auto: read off the graph)")
    add_shape(command)
    _preprocessing.add_arguments(command)
    command.add_argument("--method", choices=[*calibrate.METHODS, qdq.AUTO], default="percentile")
    command.add_argument("--recipe", choices=["best"], help="ranges, 16-bit tensors and rounding by measurement")
    command.add_argument("--activation", choices=["uint8", "uint16"], default="uint8")
    command.add_argument("--weight", choices=list(repair.CODES), default="int8", help="4 bits in int8.onnx: int4")
    command.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder to write (out)")
    command.add_argument("--trust-pickle", action="store_true", help=TRUST)


def run(args: argparse.Namespace) -> None:
    """FP32 ONNX in; out/fp32.onnx (head cut), int8.onnx (QDQ), ranges.json; with a recipe report.json and .png too."""
    if args.recipe and args.activation != "uint8":
        raise ValueError("--recipe best chooses each tensor's width itself; leave --activation out.")
    path = assets.model(args.model, args.trust_pickle)
    model = prepared(path, args.shape)  # refuses a quantized one before the long work
    task = tasks.recognise(model) if args.task == "auto" else tasks.named(args.task)
    source = args.calibrate or task.examples
    if source is None:
        text = "say what to calibrate on with `--calibrate FOLDER`: pictures, or inputs stored with `numpy.savez`"
        raise ValueError(f"{path}: {text}.")
    every = listed(task, source)
    graph.refuse_overwrite([args.output / name for name in QUANTIZED], [path, *every])
    inputs = pick(every, args.limit)
    model = tasks.settle(model, inputs, task.name, _preprocessing.settings(args))
    print(f"note: {path.name}: task {task.name}{_preprocessing.told(model)}", file=sys.stderr)
    args.output.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.resolve().parent) as work:  # nothing half-written on failure
        record = {"model": path.name, **_preprocessing.record(model), "method": args.method}
        record |= {"activation": args.activation, "weight": args.weight}
        with _told_as(path, Path(work)):
            if args.recipe:
                record |= by_recipe(model, path.name, task, inputs, Path(work), args.weight)
            else:
                made = qdq.calibrate_and_quantize(model, inputs, work, args.method, args.activation, args.weight)
                record |= {"method": made.method, "calibrated_on": [p.name for p in inputs], "ranges": made.ranges}
        graph.save_json(record, Path(work) / "ranges.json")
        fp32, int8 = (sum(p.stat().st_size for p in Path(work).glob(f"{kind}.onnx*")) for kind in ("fp32", "int8"))
        _move_into(Path(work), args.output)
    report = "; see report.png" if args.recipe else ""
    told = f"{len(record['ranges'])} ranges by {record['method']} from {len(inputs)} {task.words.inputs}"
    told += _preprocessing.told(model)
    print(f"{args.output}: {told}; int8.onnx is {fp32 / int8:.1f} × smaller than fp32.onnx{report}")


@contextlib.contextmanager
def _told_as(model: Path, work: Path) -> Iterator[None]:
    """What goes wrong with a file in `work`, which is gone afterwards, is said of the user's model."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as e:
        text = re.sub(rf"{re.escape(str(work))}[^\s:']*\.onnx", lambda _: str(model), str(e))
        if text == str(e):
            raise
        raise type(e)(text) from e


def _move_into(work: Path, output: Path) -> None:
    """Move what was made into `output`; a report of another model does not stay beside it."""
    output.mkdir(exist_ok=True)
    made = [path.name for path in work.iterdir()]
    for name in made:
        os.replace(work / name, output / name)
    for name in {"report.json", "report.png", *LARGE} - set(made):
        (output / name).unlink(missing_ok=True)


def give_large_memory_back() -> None:
    """Let glibc return each freed block of 1 MiB or more to the system: left alone it kept 260 MB of YOLOv8m.

    M_MMAP_THRESHOLD is −3. Elsewhere nothing happens. Source: mallopt(3).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(-3, 1 << 20)


def by_recipe(
    model: graph.Model, name: str, task: tasks.Task, inputs: list[Path], work: Path, weight: str = "int8"
) -> dict:
    """Quantize in `work` by `repair.quantize_best`, print its steps, write its report; what ranges.json tells of it."""
    give_large_memory_back()
    fp32 = task.prepare(model, work / "fp32.onnx")
    levelled = work / "levelled.onnx"
    found = repair.quantize_best(fp32, task.feeds(inputs, fp32), work / "int8.onnx", weight=weight, levelled=levelled)
    if levelled.is_file():  # int8.onnx was made of it
        os.replace(levelled, fp32)
    print(f"{'step':<38}" + "".join(f"{key + ' drift':>13}" for key in task.drifts) + f"{'seconds':>9}")
    for step in found["steps"]:
        kept = "  ← kept" if step["step"] == found["kept"] else ""
        drifts = "".join(f"{step[key]:>13.4f}" for key in task.drifts)
        print(f"{step['step']:<38}{drifts}{step['seconds']:>9.0f}{kept}")
    print(found["judge"])
    for name in ("calibrated_on", "judged_on"):
        found[name] = [inputs[k].name for k in found[name]]
    ranges = found.pop("ranges")
    judging = [p for p in inputs if p.name in found["judged_on"]]
    repair.write_report(work, name, judging, found)
    told = {key: found[key] for key in ("a16", "calibrated_on", "judged_on")}
    return {"method": "recipe best", **told, "ranges": ranges}
