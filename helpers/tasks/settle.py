"""What is settled about a model before it is quantized: its task, and how pictures become its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.graph import Model, ModelLike
from helpers.tasks import task as tasks
from helpers.tasks.inputs import is_picture
from helpers.tasks.interface import Interface
from helpers.tasks.preprocessing import KEY, Preprocessing
from helpers.tasks.proposal import preprocessing


def settle(
    model: ModelLike, inputs: Sequence[Path], task: str = "auto", settings: Mapping[str, Any] | None = None
) -> Model:
    """The graph with its task and, where `inputs` are pictures, its preprocessing in its metadata.

    `task` "auto" is the one that the metadata names or that recognises the graph; `settings` are those of
    `Preprocessing.changed`. Raises ValueError for settings where the inputs are arrays, and as `named`,
    `proposal.preprocessing` and `Preprocessing` do.

    >>> from helpers import assets
    >>> settled(settle(assets.model(), assets.images()[:1], settings={"color": "bgr"})).color
    'bgr'
    """
    graph = Model.of(model)
    chosen = tasks.recognise(graph) if task == "auto" else tasks.named(task)
    texts = {tasks.KEY: chosen.name}
    if inputs and is_picture(Path(inputs[0])):
        proposed = preprocessing(Interface.of(graph), (settings or {}).get("layout"))
        texts[KEY] = (proposed.changed(settings) if settings else proposed).json()
    elif settings:
        asked = ", ".join(f"--{name}" for name in settings)
        raise ValueError(f"{asked}: only for pictures, and {inputs[0]} is fed as it is; leave it out.")
    return graph.with_metadata(texts)


def settled(model: ModelLike) -> Preprocessing | None:
    """The preprocessing that a model's metadata holds; None where it holds none."""
    graph = Model.of(model)
    return preprocessing(Interface.of(graph)) if KEY in graph.metadata else None
