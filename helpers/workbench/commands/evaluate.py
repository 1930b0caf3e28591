"""What was made, judged on other inputs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from helpers import targets, tasks
from helpers.workbench.commands._inputs import listed, pick, positive


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="what quantize wrote")
    command.add_argument("--images", default="validation", metavar="PICTURES", help="a folder, or coco128")
    command.add_argument("--target", choices=list(targets.registry()), default="cpu")
    how_many = "how many pictures, spread over the folder, calibration's last (all)"
    command.add_argument("--limit", type=positive, help=how_many)


def run(args: argparse.Namespace) -> None:
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
