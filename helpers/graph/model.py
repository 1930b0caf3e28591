"""An ONNX model as one object: read once, and its maps made once, when first asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from helpers.affine import QParams
from helpers.graph.files import StrPath, read_model, save_model
from helpers.graph.inference import with_inferred

Feed = Mapping[str, np.ndarray]  # one input of a model: {input name: array}
QDQ = ("QuantizeLinear", "DequantizeLinear")


def float_name(tensor: str) -> str:
    """A tensor's name before ONNX Runtime's quantizer renamed it, at graph outputs and for stored integers.

    >>> float_name("conv.weight_quantized")
    'conv.weight'
    """
    return tensor.removesuffix("_QuantizeLinear_Input").removesuffix("_quantized")


def reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads, also inside of a branch or a loop that it holds.

    >>> reads(onnx.helper.make_node("Add", ["a", "b"], ["y"]))
    ['a', 'b']
    """
    inner = [n for a in node.attribute if a.HasField("g") for n in a.g.node]
    return [*node.input, *(name for n in inner for name in reads(n))]


class Model:
    """A model's proto and what everybody asks of it: who makes a tensor, who reads it, what is stored, which shapes.

    Each map is made when it is first asked for, and kept: to edit a proto, take `copy()` first. `path` is where it was
    read, None if it was made in memory. `Model.of` takes a path too, and raises as `read_model` does.

    >>> from onnx.parser import parse_model
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    >>> net = Model(parse_model(text))
    >>> net.producers["y"].op_type, [n.op_type for n in net.consumers["x"]], net.shapes["y"]
    ('Relu', ['Relu'], (2,))
    >>> net.with_outputs(["x", "y"]).outputs, net.outputs, list(net.inputs), net.is_quantized
    (['x', 'y'], ['y'], ['x'], False)
    """

    def __init__(self, proto: onnx.ModelProto, path: StrPath | None = None):
        self.proto = proto
        self.path = None if path is None else Path(path)

    @classmethod
    def of(cls, model: ModelLike) -> Model:
        """`model` itself, or the one around a proto, or the one that a path holds."""
        if isinstance(model, Model):
            return model
        if isinstance(model, onnx.ModelProto):
            return cls(model)
        return cls(read_model(model), model)

    def __str__(self) -> str:
        """What a message calls it."""
        return "the model" if self.path is None else str(self.path)

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """Operators in graph order."""
        return list(self.proto.graph.node)

    @cached_property
    def inputs(self) -> dict[str, onnx.ValueInfoProto]:
        """What a feed must hold, by name: graph inputs without those that have a stored default."""
        stored = {t.name for t in self.proto.graph.initializer}
        return {i.name: i for i in self.proto.graph.input if i.name not in stored}

    @cached_property
    def input_types(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """{input: (dtype, shape) of the array that a feed must hold for it}."""
        types = {name: value.type.tensor_type for name, value in self.inputs.items()}
        return {
            name: (onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type), tuple(d.dim_value for d in kind.shape.dim))
            for name, kind in types.items()
        }

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs."""
        return [o.name for o in self.proto.graph.output]

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says about itself, {key: text}."""
        return {p.key: p.value for p in self.proto.metadata_props}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """{tensor: the node that makes it}."""
        return {name: node for node in self.proto.graph.node for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """{tensor: the nodes that read it, in graph order}; nothing for one that is only an output."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.proto.graph.node:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def constants(self) -> dict[str, np.ndarray]:
        """{name: array} of every stored tensor: initializers and the values of Constant nodes."""
        found = {t.name: numpy_helper.to_array(t) for t in self.proto.graph.initializer}
        for node in self.proto.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        return found

    @cached_property
    def inferred(self) -> onnx.ModelProto:
        """The proto with the shapes and types that ONNX infers for its inner tensors.

        Beside 4 or 16 bits ONNX Runtime writes Q and DQ nodes of its own (com.microsoft), with the shapes of ONNX's.
        """
        inferred = self.copy().proto
        for node in inferred.graph.node:
            if node.op_type in QDQ:
                node.domain = ""
        return with_inferred(inferred)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{tensor: its shape}, of inputs, outputs, inner and stored tensors; 0 stands for a size that is not known.

        A tensor of which not even the number of axes is known is not there.
        """
        graph = self.inferred.graph
        found = {t.name: tuple(t.dims) for t in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.HasField("shape"):  # else not even the number of its axes is known
                found[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        return found

    @cached_property
    def element_types(self) -> dict[str, int]:
        """{tensor: its onnx.TensorProto.DataType}, of inputs, outputs, inner and stored tensors, where it is known."""
        graph = self.inferred.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        return {t.name: t.data_type for t in graph.initializer} | {
            value.name: value.type.tensor_type.elem_type for value in values
        }

    @property
    def is_quantized(self) -> bool:
        """Whether the graph carries QuantizeLinear or DequantizeLinear nodes."""
        return any(n.op_type in QDQ for n in self.proto.graph.node)

    @cached_property
    def float_names(self) -> dict[str, str]:
        """{output of a Q or DQ node: the tensor of the float graph that it stands for}, through chains of them."""
        found: dict[str, str] = {}
        for node in self.proto.graph.node:
            if node.op_type in QDQ:
                found[node.output[0]] = float_name(found.get(node.input[0], node.input[0]))
        return found

    @cached_property
    def qparams(self) -> dict[str, QParams]:
        """{tensor of the float graph: QParams} of activations, weights and biases, as the graph stores them."""
        found = {}
        for node in self.proto.graph.node:
            reads_stored = node.op_type == "DequantizeLinear" and node.input[0] in self.constants
            if node.op_type == "QuantizeLinear" or reads_stored:
                found[float_name(node.input[0])] = self.qparams_of(node)
        return found

    def qparams_of(self, node: onnx.NodeProto) -> QParams:
        """The scale and zero point that a Q or DQ node stores; without a zero point ONNX takes Z = 0 and uint8."""
        scale = self.constants[node.input[1]]
        zero = self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(scale.shape, np.uint8)
        dtype = zero.dtype.name
        if scale.size == 1:  # some per-tensor biases store their scale as a vector of one
            scale, zero = scale.reshape(()), zero.reshape(())
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1) if scale.ndim else None
        return QParams(scale[()], zero.astype(np.int64)[()], dtype, axis)

    def with_outputs(self, tensors: Iterable[str]) -> Model:
        """The same graph with `tensors` (names) as its only outputs: how every inner tensor is looked at."""
        other = self.copy()
        del other.proto.graph.output[:]
        other.proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        return other

    def with_metadata(self, texts: Mapping[str, str]) -> Model:
        """The same graph with more said about itself; a key that it has gets the new text."""
        other = self.copy()
        onnx.helper.set_model_props(other.proto, self.metadata | dict(texts))
        return other

    def with_stored_constants(self) -> Model:
        """The same graph with the values of its Constant nodes stored: quantizers ask such nodes for a range."""
        other = self.copy()
        graph = other.proto.graph
        for node in [n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]:
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.node.remove(node)
        return other

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """{name: array} of the stored second inputs of Conv, ConvTranspose, Gemm and MatMul: what is called weights."""
        layers = [n for n in self.proto.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
        return {n.input[1]: self.constants[n.input[1]] for n in layers if n.input[1] in self.constants}

    def with_weights(self, arrays: Mapping[str, np.ndarray]) -> Model:
        """The same graph with some stored arrays replaced, cast to the types that they had.

        Raises ValueError for a name that is not stored, and for another shape.
        """
        other = self.copy()
        stored = {t.name: t for t in other.proto.graph.initializer}
        for name, array in arrays.items():
            if name not in stored:
                raise ValueError(f"{self}: stores no tensor '{name}'; name one of its weights.")
            old = numpy_helper.to_array(stored[name])
            if np.shape(array) != old.shape:
                raise ValueError(f"{self}: '{name}' has shape {old.shape}, not {np.shape(array)}; keep its shape.")
            stored[name].CopyFrom(numpy_helper.from_array(np.asarray(array, old.dtype), name))
        return other

    def copy(self) -> Model:
        """The same graph in a proto of its own, free to be edited; `path` stays, for messages."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        return Model(proto, self.path)

    def save(self, path: StrPath) -> Path:
        """Check it and write it to `path`, whole or not at all; raises as `save_model` does."""
        return save_model(self.proto, path)


ModelLike = Model | onnx.ModelProto | StrPath  # whatever `Model.of` takes


def float_model(model: ModelLike) -> Model:
    """`Model.of` for one that is not quantized yet; raises ValueError where it is.

    >>> from helpers import assets
    >>> float_model(assets.model()).is_quantized
    False
    """
    found = Model.of(model)
    if found.is_quantized:
        raise ValueError(f"{found}: already quantized (it has QDQ nodes); give the FP32 model that it was made from.")
    return found


def constants(model: ModelLike) -> dict[str, np.ndarray]:
    """{name: array} of every stored tensor: `Model.constants`; raises as `Model.of` does.

    >>> from helpers import assets
    >>> constants(assets.model())["model.0.conv.weight"].shape
    (8, 3, 3, 3)
    """
    return Model.of(model).constants
