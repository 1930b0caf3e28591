"""What was made, judged on other inputs.

`--json` prints one object:

| key | what |
|---|---|
| model, task, target | the file that `quantize` was given, its task, the target's name |
| inputs, source, limit | how many were judged, the folder that was named, `--limit` or null |
| seen | how many of them also set the ranges |
| preprocessing | how pictures become the input, as the model's metadata holds it; null for arrays |
| labels | null where labels scored, else why they did not |
| rows | FP32 CPU, INT8 CPU, INT8 on the target (one row less for target cpu), each with the keys below |
| placed | [nodes on the NPU, all nodes], null for a target without a proof |
| row, file, target | the row's name, fp32.onnx or int8.onnx, where it ran |
| score | {metric: 0…1} of the labels, or null |
| agreement | {metric of the task: [value, low, high]} against FP32, 95 % interval; null for FP32 and where nothing compares |
| agreement_note | why it is null, else null |
| outputs | {output: {sqnr_db, cosine, largest_error, note}} against FP32; note: "constant", "equal" or null; null for FP32 |

A number that is infinite or not a number is null.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers import targets, tasks
from helpers.workbench.commands._inputs import listed, made_by_quantize, pick, positive, to_judge_on
from helpers.workbench.evaluation import Evaluation, Row


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="what quantize wrote")
    inputs = "pictures or arrays, as at quantize; what they take besides may lie beside them: labels"
    command.add_argument("--images", metavar="FOLDER", help=inputs)
    command.add_argument("--target", choices=list(targets.registry()), default="cpu")
    how_many = "how many inputs, spread over the folder, calibration's last (all)"
    command.add_argument("--limit", type=positive, help=how_many)
    command.add_argument("--json", action="store_true", help="one JSON object, and nothing else, on stdout")


def run(args: argparse.Namespace) -> None:
    """FP32 on CPU, INT8 on CPU (graph as written), INT8 on the target: agreement, and with labels the task's score."""
    fp32, int8, found = made_by_quantize(args.folder)
    task, target = tasks.recognise(fp32), targets.get(args.target)
    args.images = to_judge_on(task, args.images, args.folder)
    seen = {*found.get("calibrated_on", []), *found.get("judged_on", [])}
    inputs = pick(listed(task, args.images), args.limit, seen)
    evaluation = Evaluation(task, fp32, int8, target)
    both = seen & {p.name for p in inputs}
    unseen = ", none of which set the ranges" if seen and not both else ""
    told = sys.stderr if args.json else sys.stdout
    print(f"{len(inputs)} {task.words.inputs} of {args.images}{unseen}", file=told, flush=True)
    evaluation.run(inputs)
    if args.json:
        about = {"model": found.get("model", fp32.name), "task": task.name, "target": target.name}
        about |= {"inputs": len(inputs), "source": str(args.images), "limit": args.limit, "seen": len(both)}
        print(json.dumps(about | _record(evaluation, tasks.settled(fp32)), allow_nan=False))
        return
    _print(evaluation)
    if evaluation.placed:
        print(f"{evaluation.placed[0]} of {evaluation.placed[1]} nodes of the INT8 graph on HTP")
        print(target.describe())
    if both:
        print(f"note: {len(both)} of these {task.words.inputs} also set the ranges; judge on others.")


def _record(evaluation: Evaluation, preprocessing: tasks.Preprocessing | None) -> dict[str, Any]:
    """What `--json` prints of an evaluation; see the head of this file."""
    scores, why = evaluation.scores()
    rows = []
    for k, row in enumerate(evaluation.rows):
        agreement, note = evaluation.agreement(row) if k else ({}, "FP32 is what the others are held against")
        values = {key: [_finite(v) for v in agreement[key]] for key in evaluation.task.shown if agreement}
        about: dict[str, Any] = {"row": row.label, "file": row.path.name, "target": row.target.name}
        about["score"] = {key: _finite(v) for key, v in scores[k].items()} if scores else None
        about |= {"agreement": values or None, "agreement_note": note}
        about["outputs"] = {name: error.record() for name, error in row.errors.items()} or None
        rows.append(about)
    settings = json.loads(preprocessing.json()) if preprocessing else None
    return {"preprocessing": settings, "labels": why, "rows": rows, "placed": evaluation.placed}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _print(evaluation: Evaluation) -> None:
    """Agreement, then each output, then the score, where there is one: the three-way table."""
    scores, why = evaluation.scores()
    others = evaluation.rows[1:]
    if why:
        print(f"no score: {why}")
    print("agreement with FP32, without labels")
    _table(
        evaluation.task.history,
        [("FP32 CPU", ["–"] * len(evaluation.task.history))]
        + [(row.label, _agreement_cells(evaluation, row)) for row in others],
        indent="  ",
    )
    print(f"  {'output':<40}" + "".join(f"{row.label + ', dB':>16}{'cosine':>10}" for row in others))
    for name in others[0].errors:
        cells = [row.errors[name].record() for row in others]
        print(f"  {name[-40:]:<40}" + "".join(_output_cells(cell) for cell in cells))
    if scores:
        keys = evaluation.task.scores
        _table(
            {key: key for key in keys},
            [
                (row.label, [f"{score[key]:.3f}" for key in keys])
                for row, score in zip(evaluation.rows, scores, strict=True)
            ],
        )


def _table(heads: Mapping[str, str], rows: Sequence[tuple[str, Sequence[str]]], indent: str = "") -> None:
    """A line of heads, and a line for each row."""
    wide = [max(9, len(head) + 2) for head in heads.values()]
    print(f"{indent}{'':<10}" + "".join(f"{head:>{w}}" for head, w in zip(heads.values(), wide, strict=True)))
    for label, cells in rows:
        print(f"{indent}{label:<10}" + "".join(f"{cell:>{w}}" for cell, w in zip(cells, wide, strict=True)))


def _agreement_cells(evaluation: Evaluation, row: Row) -> list[str]:
    agreement, note = evaluation.agreement(row)
    if note:
        print(f"  {row.label}: {note}")
        return ["–"] * len(evaluation.task.history)
    return [_cell(agreement[key].value, 1 if "db" in key else 3) for key in evaluation.task.history]


def _cell(value: float, digits: int) -> str:
    """A number; "equal" for the infinite SQNR of what is equal, "–" where nothing was counted."""
    if math.isinf(value):
        return "equal"
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _output_cells(cell: Mapping[str, Any]) -> str:
    db = cell["note"] or ("–" if cell["sqnr_db"] is None else f"{cell['sqnr_db']:.1f}")
    cosine = "–" if cell["cosine"] is None else f"{cell['cosine']:.5f}"
    return f"{db:>16}{cosine:>10}"
