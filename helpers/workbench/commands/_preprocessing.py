"""How pictures become a model's input, as a command is told and tells it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from helpers import tasks
from helpers.graph import Model
from helpers.tasks.preprocessing import CHOICES


def add_arguments(command: argparse.ArgumentParser) -> None:
    pixels = command.add_argument_group(
        "pictures", "x = (v − mean)/std; what is left out is as the model's metadata says, or usual for its shape"
    )
    pixels.add_argument("--mean", type=numbers, help="one number, or one a channel: 0.485,0.456,0.406")
    pixels.add_argument("--std", type=numbers, help="in the same units: 0.229,0.224,0.225")
    pixels.add_argument("--range", choices=CHOICES["range"], help="v: the pixel/255, or the pixel")
    pixels.add_argument("--color", choices=CHOICES["color"], help="order of the channels")
    pixels.add_argument("--layout", choices=CHOICES["layout"], help="where the input has its channels")
    pixels.add_argument("--resize", choices=CHOICES["resize"], help="how a picture comes to the input's size")


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas, for argparse.

    >>> numbers("0.5,1")
    (0.5, 1.0)
    """
    return tuple(float(part) for part in text.split(","))


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, as `Preprocessing.changed` takes it."""
    names = ("mean", "std", "range", "color", "layout", "resize")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def told(model: Model) -> str:
    """How pictures become its input, behind a comma; "" where it takes arrays."""
    found = tasks.settled(model)
    return f", pictures by {found}" if found else ""


def record(model: Model) -> dict[str, Any]:
    """What ranges.json tells of its inputs."""
    found = tasks.settled(model)
    shapes = {name: list(shape) for name, (_, shape) in model.input_types.items()}
    return {
        "task": tasks.recognise(model).name,
        "preprocessing": json.loads(found.json()) if found else None,
        "shapes": shapes,
    }
