"""What a model takes and gives, from its file or from an open session: names, types, shapes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from helpers import targets
from helpers.graph import Model

Shapes = dict[str, tuple[int, ...]]


class Interface(NamedTuple):
    """`inputs` and `outputs` {name: shape; a size that is not known is 0}, `dtypes` {input: dtype}, the file's
    `metadata`; `model` is what messages call it, and `written` the inputs with their shapes."""

    model: str
    inputs: Shapes
    dtypes: dict[str, str]
    outputs: Shapes
    metadata: Mapping[str, str]
    written: str

    @classmethod
    def of(cls, model: Model) -> Interface:
        """Of a graph."""
        inputs = {name: shape for name, (_, shape) in model.input_types.items()}
        dtypes = {name: dtype.name for name, (dtype, _) in model.input_types.items()}
        outputs = {name: model.shapes.get(name, ()) for name in model.outputs}
        return cls(str(model), inputs, dtypes, outputs, model.metadata, _written(inputs))

    @classmethod
    def of_session(cls, session: Any, model: object) -> Interface:
        """Of a session on any target."""
        inputs = {i.name: _sizes(i.shape) for i in session.get_inputs()}
        dtypes = {i.name: str(targets.ARRAY_TYPES.get(i.type, i.type)) for i in session.get_inputs()}
        outputs = {o.name: _sizes(o.shape) for o in session.get_outputs()}
        written = _written({i.name: i.shape for i in session.get_inputs()})
        return cls(str(model), inputs, dtypes, outputs, session.get_modelmeta().custom_metadata_map, written)


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(n if isinstance(n, int) else 0 for n in shape or ())


def _written(inputs: Mapping[str, Sequence[Any]]) -> str:
    named = [f"'{name}' is {times(shape)}" for name, shape in inputs.items()]
    return f"input {' and input '.join(named)}" if named else "it has no inputs"


def times(shape: Sequence[Any]) -> str:
    """A shape as messages write it.

    >>> times((1, 3, 8, 0)), times(())
    ('1×3×8×?', 'a single number')
    """
    return "×".join(str(n or "?") for n in shape) or "a single number"


def class_names(model: Interface) -> dict[int, str]:
    """Names of the classes as Ultralytics writes them into a model's metadata; none where they are not there.

    >>> class_names(Interface("m", {}, {}, {}, {"names": "{0: 'ball', 1: 'star'}"}, ""))[1]
    'star'
    """
    try:
        found = ast.literal_eval(model.metadata.get("names", "{}"))
    except (ValueError, SyntaxError):
        return {}
    return {int(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
