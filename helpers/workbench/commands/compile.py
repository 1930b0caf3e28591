"""A QDQ model compiled for the HTP."""

from __future__ import annotations

import argparse
from pathlib import Path

from helpers import targets
from helpers.targets import context


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, help="a QDQ model, such as out/int8.onnx")
    command.add_argument("-o", "--output", type=Path, help="the context to write (beside it, <name>_htp.onnx)")


def run(args: argparse.Namespace) -> None:
    """A QDQ model in; a context compiled for the HTP and its manifest out."""
    made = targets.compile_context(args.model, args.output or args.model.with_name(f"{args.model.stem}_htp.onnx"))
    record = context.verify_manifest(made)
    hexagon = record.get("device") or context.hexagon(context.built_for(record))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB for {hexagon}")
