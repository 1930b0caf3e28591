"""A float model of any origin made ready to be quantized: what is changed is said, and proved to change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx

from helpers import targets
from helpers.graph import Feed, Model, ModelLike, float_model, read_model
from helpers.qdq.activation_chains import with_activations
from helpers.qdq.input_shapes import Shapes, with_shapes
from helpers.qdq.rewrites import folded, upgraded, with_pads

TOLERANCE = 1e-4  # of an output's largest value
STEPS: list[Callable[[Model], tuple[Model, str]]] = [upgraded, folded, with_activations, with_pads]


class Prepared(NamedTuple):
    """A model made ready, and each change as a line."""

    model: Model
    changes: list[str]


def prepare(model: ModelLike, shapes: Shapes | None = None) -> Prepared:
    """Make a float model ready for `observe` and `quantize_model`: {model, changes}, each change one line.

    Inputs get fixed sizes (`shapes`, or the obvious), the operator set becomes 17 or newer, constants, Identity and
    BatchNormalization are folded, chains become LayerNormalization, Gelu, HardSwish or Mish, `auto_pad` becomes `pads`.
    After each step max|y − y′| ≤ 1e-4·max|y| must hold for every output, on one seeded input with ONNX Runtime; a
    step that breaks it is undone, and said. A model that needs nothing comes back as it is.

    Raises FileNotFoundError (no such file) and ValueError (not a model, quantized already, a size that must be given,
    an operator set too old, what ONNX Runtime does not load or run).
    Source: ONNX Runtime, "Graph optimizations"; onnx.version_converter.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 11]> g (float[N, 2] x) => (float[N, 2] y)
    ...     { a = Identity(x)  y = Relu(a) }''')
    >>> for line in prepare(net).changes:
    ...     print(line)
    input 'x' is N×2: fixed at 1×2 (batch 1)
    operator set 11 → 17
    folded from 2 nodes to 1, among what went: 1 Identity
    """
    if not isinstance(model, (Model, onnx.ModelProto)):
        model = Model(read_model(model, static=False), model)
    current, changes = with_shapes(_without_defaults(float_model(model)), shapes)
    reference = _Reference(current)
    for step in STEPS:
        after, said = step(current)
        if not said:
            continue
        gap = reference.gap(after)
        if gap <= TOLERANCE:
            current = after
            changes.append(said)
        else:
            changes.append(f"undone, for outputs moved by {gap:.1e} of their largest value: {said}")
    return Prepared(_with_output_shapes(current, reference), changes)


def _without_defaults(model: Model) -> Model:
    """The same graph where stored tensors are no inputs: as inputs with a default they may not be folded."""
    if len(model.inputs) == len(model.proto.graph.input):
        return model
    other = model.copy()
    del other.proto.graph.input[:]
    other.proto.graph.input.extend(model.inputs.values())
    return other


def _with_output_shapes(model: Model, reference: _Reference) -> Model:
    """`model` itself, or where an output's number of axes is not known a copy that says it: onnx wants it written."""
    if all(o.type.tensor_type.HasField("shape") for o in model.proto.graph.output):
        return model
    other = model.copy()
    for value, array in zip(other.proto.graph.output, reference.found(), strict=True):
        if not value.type.tensor_type.HasField("shape"):
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, [None] * array.ndim))
    return other


def random_feed(model: Model, seed: int = 0) -> Feed:
    """One seeded input: floats uniform in 0…1, integers and booleans 0 or 1, so that they are no index too large.

    >>> from helpers import assets
    >>> random_feed(Model.of(assets.model()))["images"].shape
    (1, 3, 320, 320)
    """
    rng = np.random.default_rng(seed)
    return {
        name: (rng.uniform(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)
        for name, (dtype, shape) in model.input_types.items()
    }


class _Reference:
    """The model's outputs before any change, computed when first compared with."""

    def __init__(self, model: Model):
        self.model, self.feed = model, random_feed(model)
        self.outputs: list[np.ndarray] | None = None

    def gap(self, other: Model) -> float:
        """Largest max|y − y′| / max|y| of an output; inf where shapes differ, or what is finite."""
        return max(map(_gap, self.found(), self._run(other)))

    def found(self) -> list[np.ndarray]:
        """The outputs, in order."""
        if self.outputs is None:
            self.outputs = self._run(self.model)
        return self.outputs

    def _run(self, model: Model) -> list[np.ndarray]:
        try:
            return targets.load(model).run(None, self.feed)
        except Exception as e:
            raise ValueError(f"{model}: ONNX Runtime cannot run it: {' '.join(str(e).split())[:300]}") from None


def _gap(y: np.ndarray, changed: np.ndarray) -> float:
    if y.shape != changed.shape:
        return np.inf
    if y.dtype.kind != "f" or not y.size:
        return 0.0 if np.array_equal(y, changed) else np.inf
    if not np.array_equal(np.isfinite(y), np.isfinite(changed)):
        return np.inf
    finite = np.isfinite(y)
    largest = np.abs(y[finite]).max(initial=0)
    return float(np.abs(y[finite].astype(np.float64) - changed[finite]).max(initial=0) / max(largest, 1e-30))
