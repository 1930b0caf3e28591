"""The simulator with the face of an ONNX Runtime session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import numpy as np
import onnx

from helpers.affine import dequantize
from helpers.graph import Feed, ModelLike
from helpers.integer.simulator import Simulator


class Session:
    """`Simulator` with the methods of `onnxruntime.InferenceSession`: real numbers out where the graph says so.

    Raises ValueError as `Simulator` does.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> Session(net).run(None, {"x": np.float32([0.4, 5])})
    [array([0.5, 5. ], dtype=float32)]
    """

    def __init__(self, model: ModelLike):
        self.model = Simulator(model)

    def get_inputs(self) -> list[SimpleNamespace]:
        """The graph's inputs, each with name, shape and type."""
        return _described(self.model.inputs)

    def get_outputs(self) -> list[SimpleNamespace]:
        """The graph's outputs, each with name, shape and type."""
        return _described(self.model.proto.graph.output)

    def get_modelmeta(self) -> SimpleNamespace:
        """`custom_metadata_map` holds what the file says about itself."""
        return SimpleNamespace(custom_metadata_map={p.key: p.value for p in self.model.proto.metadata_props})

    def run(self, output_names: Sequence[str] | None, feed: Feed) -> list[np.ndarray]:
        """The outputs of these names, or all: codes, or real numbers where the graph's output is float."""
        codes, kinds = self.model.run(feed), {o.name: o.type for o in self.get_outputs()}
        return [self._real(name, codes[name], kinds[name]) for name in output_names or kinds]

    def _real(self, name: str, codes: np.ndarray, kind: str) -> np.ndarray:
        if kind != "tensor(float)":
            return codes
        return dequantize(codes, self.model.qparams[self.model.outputs[name]])


def _described(values: Iterable[onnx.ValueInfoProto]) -> list[SimpleNamespace]:
    found = []
    for value in values:
        tensor = value.type.tensor_type
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        shape = [d.dim_value for d in tensor.shape.dim]
        found.append(SimpleNamespace(name=value.name, shape=shape, type=f"tensor({kind})"))
    return found
