"""The preflight of a float model.

Exit code 0: the HTP takes every node. 1: some are refused, or nothing here can tell (no QNN on this machine); they are
listed. 2: bad input. `--json` prints one object: `model`, `target` (what compiled it), `nodes` (of the prepared graph),
`whole` (true, false, or null where nothing compiled it), `changes` (lines), `refusals` (objects of `node`, `op`,
`output`, `why`, `remedy`), `hard` (objects of `tensor`, `why`, `remedy`), `said` (the compiler's own words, or "").
"""

from __future__ import annotations

import argparse
import json

from helpers import assets, qdq
from helpers.qdq.preflight import Preflight
from helpers.workbench.commands._inputs import add_shape
from helpers.workbench.commands.quantize import TRUST

SHOWN = 20  # lines of a list; `--json` has them all


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="an ONNX file, or yolov8n")
    add_shape(command)
    command.add_argument("--json", action="store_true", help="everything, for machines")
    command.add_argument("--trust-pickle", action="store_true", help=TRUST)


def run(args: argparse.Namespace) -> int:
    """Before any calibration: what the HTP refuses of a model, why, the remedy; exit code 1 where it refuses a node."""
    path = assets.model(args.model, args.trust_pickle)
    found = qdq.check(path, dict(map(qdq.parse_shape, args.shape)))
    print(json.dumps(found.as_dict(), indent=1, ensure_ascii=False) if args.json else told(found))
    return 0 if found.whole else 1


def told(found: Preflight) -> str:
    """What was found, for people."""
    lines = [f"{found.model}: {verdict(found)}", f"compiled by: {found.target}"]
    lines += [f"prepare does it by itself: {change}" for change in found.changes]
    lines += _list("refused", [f"{r.op} '{r.node}': {r.why}; {r.remedy}." for r in found.refusals])
    lines += _list("hard in 8 bits", [f"'{h.tensor}': {h.why}; {h.remedy.rstrip('.')}." for h in found.hard])
    if found.whole is False and not found.refusals:
        lines.append(f"the compiler says: {found.said}")
    return "\n".join(lines)


def verdict(found: Preflight) -> str:
    """One clause: how many nodes the HTP takes."""
    if found.whole:
        return f"whole on the HTP, {found.nodes} nodes"
    if found.whole is None:
        return f"not compiled here; {len(found.refusals)} of {found.nodes} nodes are known to be refused"
    if not found.refusals:
        return f"the HTP does not take its {found.nodes} nodes as a whole, and no single one is at fault"
    return f"the HTP refuses {len(found.refusals)} of {found.nodes} nodes"


def _list(title: str, lines: list[str]) -> list[str]:
    more = [f"  … and {len(lines) - SHOWN} more; `--json` lists all"] if len(lines) > SHOWN else []
    return [f"{title}:", *(f"  {line}" for line in lines[:SHOWN]), *more] if lines else []
