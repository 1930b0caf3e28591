"""The same work without a notebook: `python -m helpers doctor | quantize | evaluate | compile | fetch`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
import warnings
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from helpers import assets, calibrate, graph, qdq, repair, targets, tasks
from helpers.targets import context

TRUST = "load a .pt of any origin: it is a pickle, and loading it runs whatever code its maker put in it"


PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-qnn", "jupyterlab", "ultralytics")
QUANTIZED = ("fp32.onnx", "int8.onnx", "ranges.json", "report.json", "report.png")


def doctor(args: argparse.Namespace) -> None:
    """Say what this machine has and what it lacks, with the remedy."""
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    pins = assets.DATA.parent / "constraints.txt"
    tested = re.findall(r"^([\w.-]+)==([^\s;]+)", pins.read_text(encoding="utf-8"), re.M) if pins.is_file() else []
    for name in PACKAGES:
        print(f"  {name:<16} {_installed(name, [version for pin, version in tested if pin == name])}")
    for name, target in targets.registry().items():
        print(f"  target {name:<9} {target.unavailable() or target.describe()}")
    for what, find in (
        ("model yolov8n", lambda: assets.find("yolov8n")),
        ("coco128", lambda: assets.images("coco128")[0].parent),
    ):
        try:
            found = find()
        except FileNotFoundError as e:
            print(f"  {what:<16} {e}")
            continue
        note = " (a checkpoint, not loaded here; `quantize` turns it into ONNX)" if found.suffix == ".pt" else ""
        print(f"  {what:<16} {found}{note}")


def _installed(name: str, pinned: list[str]) -> str:
    """The version of a package that is installed here, and the one that was tested where it is another."""
    try:
        here = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        needed = "  (only export and training need it: extra `yolo`)" if name == "ultralytics" else ""
        return f"not installed{needed}"
    return here if not pinned or here in pinned else f"{here}  (tested with {' or '.join(pinned)})"


def listed(task: tasks.Task, source: str) -> list[Path]:
    """The inputs of a folder, or of a name that `assets` knows; what is passed over is told on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = task.inputs(source)
    for warning in caught:
        print(f"note: {warning.message}", file=sys.stderr)
    return found


def pick(found: list[Path], limit: int | None, seen: Collection[str] = frozenset()) -> list[Path]:
    """`limit` inputs of a folder (None: all), one at random from each of `limit` equal stretches of its order.

    The seed is fixed, so the same folder gives the same inputs. Those whose name is in `seen` come in only where
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


def _spread(found: list[Path], count: int) -> list[Path]:
    """One at random from each of `count` equal stretches."""
    rng = np.random.default_rng(0)
    ends = np.arange(count + 1) * len(found) // count
    return [found[rng.integers(a, b)] for a, b in pairwise(ends)]


def quantize(args: argparse.Namespace) -> None:
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
        record["weight"] = args.weight
        if args.recipe:
            record |= by_recipe(model, task, inputs, Path(work), args.weight)
        else:
            made = qdq.calibrate_and_quantize(model, inputs, work, args.method, args.activation, args.weight)
            record |= {"calibrated_on": [p.name for p in inputs], "ranges": made.ranges}
        graph.save_json(record, Path(work) / "ranges.json")
        smaller = Path(work, "fp32.onnx").stat().st_size / Path(work, "int8.onnx").stat().st_size
        _move_into(Path(work), args.output)
    told = f"{len(record['ranges'])} ranges by {record['method']} from {len(inputs)} {task.words.inputs}"
    report = "; see report.png" if args.recipe else ""
    print(f"{args.output}: {told}; int8.onnx is {smaller:.1f} × smaller than fp32.onnx{report}")


def _move_into(work: Path, output: Path) -> None:
    """Move what was made into `output`; a report of another model does not stay beside it."""
    output.mkdir(exist_ok=True)
    made = [path.name for path in work.iterdir()]
    for name in made:
        os.replace(work / name, output / name)
    for name in {"report.json", "report.png"} - set(made):
        (output / name).unlink(missing_ok=True)


def give_large_memory_back() -> None:
    """Let glibc return each freed block of 1 MiB or more to the system: left alone it kept 260 MB of YOLOv8m.

    M_MMAP_THRESHOLD is −3. Elsewhere nothing happens. Source: mallopt(3).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(-3, 1 << 20)


def by_recipe(model: Path, task: tasks.Task, inputs: list[Path], work: Path, weight: str = "int8") -> dict:
    """Quantize in `work` by `repair.quantize_best`, print its steps, write its report; what ranges.json tells of it."""
    give_large_memory_back()
    fp32 = task.prepare(model, work / "fp32.onnx")
    found = repair.quantize_best(fp32, task.feeds(inputs, fp32), work / "int8.onnx", weight=weight)
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


def evaluate(args: argparse.Namespace) -> None:
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
    both = seen & {p.name for p in inputs}
    unseen = ", none of which set the ranges" if seen and not both else ""
    print(f"{len(inputs)} {task.words.inputs} of {args.images}{unseen}")
    compare(task, fp32, int8, list(dict.fromkeys([targets.get("cpu"), target])), inputs)
    if placed:
        print(f"{sum(p == targets.QNN for p in placed.values())} of {len(placed)} nodes of the INT8 graph on HTP")
        print(target.describe())
    if both:
        print(f"note: {len(both)} of these {task.words.inputs} also set the ranges; judge on others.")


def compare(task: tasks.Task, fp32: Path, int8: Path, where: list[targets.Target], inputs: list[Path]) -> None:
    """Print a row for INT8 on each target: what labels say, beside FP32, or without labels the agreement with FP32."""
    if task.scores:
        print(f"{'':<10}" + "".join(f"{name:>9}" for name in task.scores))
        rows = {"FP32 CPU": (fp32, "cpu")} | {target.label: (int8, target.name) for target in where}
        for label, (path, name) in rows.items():
            score = task.score(path, inputs, name)
            print(f"{label:<10}" + "".join(f"{score[metric]:>9.3f}" for metric in task.scores), flush=True)
        return
    reference = [task.runner(fp32).results(p) for p in inputs]
    print(f"{'':<10}" + "".join(f"{name:>9}" for name in task.shown) + "  of the outputs, against FP32")
    for target in where:
        runner = task.runner(int8, target.name)
        agreement = task.agreement(reference, [runner.results(p) for p in inputs])
        print(f"{target.label:<10}" + "".join(f"{agreement[name].value:>9.3f}" for name in task.shown), flush=True)


def compile_(args: argparse.Namespace) -> None:
    """A QDQ model in; a context compiled for the HTP and its manifest out."""
    made = targets.compile_context(args.model, args.output or args.model.with_name(f"{args.model.stem}_htp.onnx"))
    record = context.verify_manifest(made)
    hexagon = record.get("device") or context.hexagon(context.built_for(record))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB for {hexagon}")


def fetch(args: argparse.Namespace) -> None:
    """Download yolov8n or coco128 into data/cache."""
    print(assets.fetch(args.name, args.trust_pickle))


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _quantize_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="an ONNX file, or yolov8n")
    command.add_argument("--calibrate", default="calibration", metavar="PICTURES", help="a folder, or coco128")
    command.add_argument("--limit", type=positive, default=32, help="how many, spread over the folder (32)")
    command.add_argument("--method", choices=calibrate.METHODS, default="percentile")
    command.add_argument("--recipe", choices=["best"], help="ranges, 16-bit tensors and rounding by measurement")
    command.add_argument("--activation", choices=["uint8", "uint16"], default="uint8")
    command.add_argument("--weight", choices=list(repair.CODES), default="int8", help="4 bits in int8.onnx: int4")
    command.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder to write (out)")
    command.add_argument("--trust-pickle", action="store_true", help=TRUST)


def _evaluate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="what quantize wrote")
    command.add_argument("--images", default="validation", metavar="PICTURES", help="a folder, or coco128")
    command.add_argument("--target", choices=list(targets.registry()), default="cpu")
    how_many = "how many pictures, spread over the folder, calibration's last (all)"
    command.add_argument("--limit", type=positive, help=how_many)


def _compile_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, help="a QDQ model, such as out/int8.onnx")
    command.add_argument("-o", "--output", type=Path, help="the context to write (beside it, <name>_htp.onnx)")


def _fetch_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="yolov8n or coco128")
    command.add_argument("--trust-pickle", action="store_true", help=TRUST)


COMMANDS = {
    "doctor": (doctor, lambda command: None),
    "quantize": (quantize, _quantize_arguments),
    "evaluate": (evaluate, _evaluate_arguments),
    "compile": (compile_, _compile_arguments),
    "fetch": (fetch, _fetch_arguments),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 2 and one sentence on stderr where the input is bad.

    >>> main(["quantize", "nowhere/model.onnx"])
    2
    """
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, (run, add_arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        add_arguments(command)
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
