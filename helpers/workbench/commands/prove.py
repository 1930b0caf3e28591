"""The same inputs on every target, codes compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from helpers import tasks
from helpers.workbench.commands._inputs import listed, made_by_quantize, pick, positive, to_judge_on
from helpers.workbench.proof import prove


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="what quantize wrote")
    command.add_argument("--images", metavar="FOLDER", help="inputs: a folder, or coco128")
    command.add_argument("--limit", type=positive, default=4, help="how many, spread over the folder (4)")
    command.add_argument("-o", "--output", type=Path, default=Path("proof"), help="folder to write (proof)")


def run(args: argparse.Namespace) -> None:
    """The same inputs on every target of this machine: proof.json, and proof.png to look at."""
    fp32, _, found = made_by_quantize(args.folder)
    task = tasks.recognise(fp32)
    args.images = to_judge_on(task, args.images, args.folder)
    inputs = pick(listed(task, args.images), args.limit)
    proved = prove(args.folder, inputs, args.output, task, found.get("model", args.folder.name))
    print(f"{len(inputs)} {task.words.inputs} of {args.images}")
    for name, target in proved["targets"].items():
        print(f"{name:<9} {target['refused'] or target['is']}")
    for pair, codes in proved["codes"].items():
        differs = f"; the first that differs is '{codes['first_difference']}'" if codes["first_difference"] else ""
        equal = f"{codes['equal']:,} of {codes['of']:,} codes equal"
        print(f"{pair:<16} {equal}, at most {codes['largest_step']} steps off{differs}")
    print(f"{args.output}: proof.json and proof.png")
