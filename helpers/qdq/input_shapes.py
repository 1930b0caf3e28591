"""Dynamic inputs given fixed sizes: those that were asked for, or the obvious ones."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import onnx

from helpers.graph import Model, size_text

Shapes = Mapping[str, Sequence[int]]  # {input: its sizes}


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """An input's name and sizes from what `--shape` takes; ValueError for any other text.

    >>> parse_shape("images=1x3x640x640")
    ('images', (1, 3, 640, 640))
    """
    name, _, sizes = text.rpartition("=")
    numbers = sizes.replace("×", "x").replace(",", "x").split("x")
    if not name or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise ValueError(f"--shape {text}: is no input with its sizes; write it like images=1x3x640x640.")
    return name, tuple(map(int, numbers))


def with_shapes(model: Model, shapes: Shapes | None = None) -> tuple[Model, list[str]]:
    """The same graph with every input of fixed size, and one line for each input that was changed.

    Sizes are taken from `shapes`; else a batch becomes 1, and a picture's height and width what the model's own
    metadata says (`imgsz`, as Ultralytics writes it). Raises ValueError for a name that is no input, for sizes that
    contradict the model, and for a size that nobody knows: the message says how to give it.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[N, 2] x) => (float[N, 2] y)
    ...     { y = Relu(x) }''')
    >>> with_shapes(Model(net))[1]
    ["input 'x' is N×2: fixed at 1×2 (batch 1)"]
    """
    shapes = shapes or {}
    if unknown := [name for name in shapes if name not in model.inputs]:
        known = ", ".join(model.inputs)
        raise ValueError(f"{model}: has no input '{unknown[0]}' to give a shape; its inputs are {known}.")
    fixed = {name: _sizes(model, name, shapes.get(name)) for name in model.inputs}
    changed = {name: found for name, found in fixed.items() if found[1]}
    if not changed:
        return model, []
    other = model.copy()
    lines = []
    for name, (sizes, reason) in changed.items():
        lines.append(f"input '{name}' is {_shown(model, name)}: fixed at {'×'.join(map(str, sizes))} ({reason})")
        kind = other.inputs[name].type.tensor_type
        kind.CopyFrom(onnx.helper.make_tensor_type_proto(kind.elem_type, sizes).tensor_type)
    return _shapes_anew(other), lines


def _shapes_anew(model: Model) -> Model:
    """`model` with the shapes of its inner tensors and outputs inferred again from its inputs."""
    graph = model.proto.graph
    del graph.value_info[:]
    for value in graph.output:
        for d in value.type.tensor_type.shape.dim:
            d.Clear()  # a name such as 'batch' would stay
    inferred = onnx.shape_inference.infer_shapes(model.proto)
    return Model(inferred, model.path)


def _shown(model: Model, name: str) -> str:
    kind = model.inputs[name].type.tensor_type
    return size_text(kind.shape.dim) if kind.HasField("shape") else "of unknown rank"


def _sizes(model: Model, name: str, given: Sequence[int] | None) -> tuple[list[int], str]:
    """An input's sizes and where they are from, "" if they are fixed already."""
    kind = model.inputs[name].type.tensor_type
    now = [d.dim_value if d.dim_value > 0 else 0 for d in kind.shape.dim]
    if given is not None:
        ranked = kind.HasField("shape")
        if ranked and (len(given) != len(now) or any(a and a != b for a, b in zip(now, given, strict=True))):
            asked = "×".join(map(str, given))
            raise ValueError(f"{model}: input '{name}' is {_shown(model, name)}, which {asked} does not fit.")
        return list(given), "" if ranked and all(now) else "as asked"
    if kind.HasField("shape") and all(now):
        return now, ""
    return _proposed(model, name, now)


def _proposed(model: Model, name: str, now: list[int]) -> tuple[list[int], str]:
    """The obvious sizes of an input and why; ValueError with the option to write where some are not obvious."""
    picture = len(now) == 4 and now[1] in (0, 1, 3)
    metadata = {p.key: p.value for p in model.proto.metadata_props}
    reason = "batch 1"
    if picture and not all(now[2:]) and (size := _imgsz(metadata.get("imgsz", ""))):
        now = [*now[:2], *size]
        reason = "batch 1, the size in its own metadata"
    if now and all(now[1:]):
        return [now[0] or 1, *now[1:]], reason
    example = [n or (224 if picture and k > 1 else (1, 3)[k] if k < 2 else 64) for k, n in enumerate(now)]
    text = "x".join(map(str, example or (1, 3, 224, 224)))
    raise ValueError(
        f"{model}: input '{name}' is {_shown(model, name)} and the HTP needs fixed sizes; "
        f"add `--shape {name}={text}` with yours (Python: shapes={{'{name}': (…)}})."
    )


def _imgsz(text: str) -> list[int]:
    """Height and width as Ultralytics keeps them, "[640, 640]"; empty where that is not what stands there."""
    try:
        size = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return size if isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) for n in size) else []
