"""What is downloaded, when it is asked for."""

from __future__ import annotations

import argparse

from helpers import assets
from helpers.workbench.commands.quantize import TRUST


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="yolov8n or coco128")
    command.add_argument("--trust-pickle", action="store_true", help=TRUST)


def run(args: argparse.Namespace) -> None:
    """Download yolov8n or coco128 into data/cache."""
    print(assets.fetch(args.name, args.trust_pickle))
