"""The same work without a notebook: `python -m helpers doctor | quantize | evaluate | compile | fetch`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np

from helpers import assets, calibrate, graph, qdq, repair, targets, tasks
from helpers.targets import context

TRUST = "load a .pt of any origin: it is a pickle, and loading it runs whatever code its maker put in it"


def doctor(args) -> None:
    """Say what this machine has and what it lacks, with the remedy."""
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    pins = assets.DATA.parent / "constraints.txt"
    tested = re.findall(r"^([\w.-]+)==([^\s;]+)", pins.read_text(encoding="utf-8"), re.M) if pins.is_file() else []
    for name in ("numpy", "onnx", "onnxruntime", "onnxruntime-qnn", "jupyterlab", "ultralytics"):
        try:
            here = importlib.metadata.version(name)
            pinned = [version for pin, version in tested if pin == name]
            note = "" if not pinned or here in pinned else f"  (tested with {' or '.join(pinned)})"
        except importlib.metadata.PackageNotFoundError:
            here, note = "not installed", "  (only export and training need it: extra `yolo`)" * (name == "ultralytics")
        print(f"  {name:<16} {here}{note}")
    for name, target in targets.registry().items():
        missing = target.unavailable()
        print(f"  target {name:<9} {missing or target.describe()}")
    for what, find in {
        "model yolov8n": lambda: assets.find("yolov8n"),
        "coco128": lambda: assets.images("coco128")[0].parent,
    }.items():
        try:
            found = find()
            note = " (a checkpoint, not loaded here; `quantize` turns it into ONNX)" * (found.suffix == ".pt")
            print(f"  {what:<16} {found}{note}")
        except FileNotFoundError as e:
            print(f"  {what:<16} {e}")


QUANTIZED = ("fp32.onnx", "int8.onnx", "ranges.json", "report.json", "report.png")


def listed(task: tasks.Task, source: str) -> list[Path]:
    """The inputs of a folder, or of a name that `assets` knows; what is passed over is told on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = task.inputs(source)
    for warning in caught:
        print(f"note: {warning.message}", file=sys.stderr)
    return found


def pick(found: list[Path], limit: int | None, seen=frozenset()) -> list[Path]:
    """`limit` pictures of a folder (None: all), one at random from each of `limit` equal stretches of its order.

    The seed is fixed, so the same folder gives the same pictures. Those whose name is in `seen` come in only where
    the others are too few.

    >>> len(pick(assets.images("calibration"), 3)), pick([Path("b"), Path("a")], None)[0].name
    (3, 'b')
    """
    if limit is None or limit >= len(found):
        return found
    fresh = [p for p in found if p.name not in seen]
    if len(fresh) < limit:
        rest = [p for p in found if p.name in seen]
        return sorted(fresh + _spread(rest, limit - len(fresh)))
    return _spread(fresh, limit)


def _spread(found: list, count: int) -> list:
    rng, ends = np.random.default_rng(0), np.arange(count + 1) * len(found) // count
    return [found[rng.integers(a, b)] for a, b in pairwise(ends)]


def quantize(args) -> None:
    """FP32 ONNX in; out/fp32.onnx (head cut), int8.onnx (QDQ), ranges.json; with a recipe report.json and .png too."""
    if args.recipe and args.activation != "uint8":
        raise ValueError("--recipe best chooses each tensor's width itself; leave --activation out.")
    model = assets.model(args.model, args.trust_pickle)
    task = tasks.recognise(graph.float_model(model))  # refuse a quantized one before the long work
    every = listed(task, args.calibrate)
    graph.refuse_overwrite([args.output / name for name in QUANTIZED], [model, *every])
    inputs = pick(every, args.limit)
    args.output.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.resolve().parent) as work:  # nothing half-written on failure
        record = {"model": model.name, "task": task.name, "method": args.method, "activation": args.activation}
        if args.recipe:
            record |= by_recipe(model, task, inputs, Path(work))
        else:
            made = qdq.calibrate_and_quantize(model, inputs, work, args.method, args.activation)
            record |= {"calibrated_on": [p.name for p in inputs], "ranges": made.ranges}
        graph.save_json(record, Path(work) / "ranges.json")
        smaller = Path(work, "fp32.onnx").stat().st_size / Path(work, "int8.onnx").stat().st_size
        args.output.mkdir(exist_ok=True)
        for made in Path(work).iterdir():
            os.replace(made, args.output / made.name)
        if not args.recipe:  # a report of another model must not stay beside this one
            for name in ("report.json", "report.png"):
                (args.output / name).unlink(missing_ok=True)
    print(f"{args.output}: {len(record['ranges'])} ranges by {record['method']} from {len(inputs)} inputs;", end=" ")
    print(f"int8.onnx is {smaller:.1f} × smaller than fp32.onnx{'; see report.png' if args.recipe else ''}")


def by_recipe(model: Path, task: tasks.Task, inputs: list[Path], work: Path) -> dict:
    """Quantize in `work` by `repair.quantize_best`, print its steps, write its report; what ranges.json tells of it."""
    fp32 = task.prepare(model, work / "fp32.onnx")
    found = repair.quantize_best(fp32, task.feeds(inputs, fp32), work / "int8.onnx")
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
    repair.write_report(work, model.name, judging, found)
    told = {key: found[key] for key in ("a16", "calibrated_on", "judged_on")}
    return {"method": "recipe best", **told, "ranges": ranges}


def evaluate(args) -> None:
    """The three-way table: FP32 on CPU, INT8 on CPU (graph as written), INT8 on the target."""
    fp32, int8 = args.folder / "fp32.onnx", args.folder / "int8.onnx"
    for needed in (fp32, int8):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed}: no such file; make it with `python -m helpers quantize … -o {args.folder}`."
            )
    record = args.folder / "ranges.json"
    found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    seen = {*found.get("calibrated_on", []), *found.get("judged_on", [])}
    target, task = targets.get(args.target), tasks.recognise(fp32)
    inputs = pick(listed(task, args.images), args.limit, seen)
    placed = targets.placement(targets.load(int8, target.name)) if target.proves_placement else {}  # or fail at once
    rows = [(int8, targets.get("cpu")), (int8, target)]
    both = seen & {p.name for p in inputs}
    print(f"{len(inputs)} inputs of {args.images}{', none of which set the ranges' if seen and not both else ''}")
    compare(task, fp32, {t.label: (path, t.name) for path, t in rows}, inputs)
    if placed:
        print(f"{sum(p == targets.QNN for p in placed.values())} of {len(placed)} nodes of the INT8 graph on HTP")
        print(target.describe())
    if both:
        print(f"note: {len(both)} of these inputs also set the ranges; judge on others.")


def compare(task: tasks.Task, fp32: Path, rows: dict, inputs: list[Path]) -> None:
    """Print what labels say of each row {label: (path, target)}, or where a task has none, the agreement with FP32."""
    if task.scores:
        print(f"{'':<10}" + "".join(f"{name:>9}" for name in task.scores))
        for label, (path, target) in ({"FP32 CPU": (fp32, "cpu")} | rows).items():
            score = task.score(path, inputs, target)
            print(f"{label:<10}" + "".join(f"{score[name]:>9.3f}" for name in task.scores), flush=True)
        return
    reference = [task.runner(fp32).results(p) for p in inputs]
    print(f"{'':<10}" + "".join(f"{name:>9}" for name in task.shown) + "  of the outputs, against FP32")
    for label, (path, target) in rows.items():
        runner = task.runner(path, target)
        agreement = task.agreement(reference, [runner.results(p) for p in inputs])
        print(f"{label:<10}" + "".join(f"{agreement[name].value:>9.3f}" for name in task.shown), flush=True)


def compile_(args) -> None:
    """A QDQ model in; a context compiled for the HTP and its manifest out."""
    made = targets.compile_context(args.model, args.output or args.model.with_name(f"{args.model.stem}_htp.onnx"))
    record = context.verify_manifest(made)
    hexagon = record.get("device") or context.hexagon(context.built_for(record))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB for {hexagon}")


def fetch(args) -> None:
    """Download yolov8n or coco128 into data/cache."""
    print(assets.fetch(args.name, args.trust_pickle))


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main(argv=None) -> int:
    """Run one command; 2 and one sentence on stderr where the input is bad.

    >>> main(["quantize", "nowhere/model.onnx"])
    2
    """
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for function in (doctor, quantize, evaluate, compile_, fetch):
        command = commands.add_parser(function.__name__.strip("_"), help=function.__doc__, description=function.__doc__)
        command.set_defaults(run=function)
        if function is quantize:
            command.add_argument("model", help="an ONNX file, or yolov8n")
            command.add_argument("--calibrate", default="calibration", metavar="PICTURES", help="a folder, or coco128")
            command.add_argument("--limit", type=positive, default=32, help="how many, spread over the folder (32)")
            command.add_argument("--method", choices=calibrate.METHODS, default="percentile")
            command.add_argument(
                "--recipe", choices=["best"], help="ranges, 16-bit tensors and rounding by measurement"
            )
            command.add_argument("--activation", choices=["uint8", "uint16"], default="uint8")
            command.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder to write (out)")
        elif function is evaluate:
            command.add_argument("folder", type=Path, help="what quantize wrote")
            command.add_argument("--images", default="validation", metavar="PICTURES", help="a folder, or coco128")
            command.add_argument("--target", choices=list(targets.registry()), default="cpu")
            command.add_argument(
                "--limit", type=positive, help="how many pictures, spread over the folder, calibration's last (all)"
            )
        elif function is compile_:
            command.add_argument("model", type=Path, help="a QDQ model, such as out/int8.onnx")
            command.add_argument("-o", "--output", type=Path, help="the context to write (beside it, <name>_htp.onnx)")
        elif function is fetch:
            command.add_argument("name", help="yolov8n or coco128")
        if function in (quantize, fetch):
            command.add_argument("--trust-pickle", action="store_true", help=TRUST)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError, ImportError, RuntimeError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
