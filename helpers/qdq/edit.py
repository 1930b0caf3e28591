"""Change a QDQ graph: another range for a tensor, an inner tensor as an output."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import overload

import numpy as np
import onnx
from onnx import numpy_helper

from helpers.affine import QParams, choose_qparams, qrange
from helpers.graph import Model, ModelLike, StrPath, float_name, read_model, save_model

Tensors = str | Iterable[str]  # one name or several


def _store(model: onnx.ModelProto, nodes: list[onnx.NodeProto], index: int, array: np.ndarray) -> None:
    """Give `nodes`, which read one constant as input `index`, another: in place if no other node reads it."""
    name, stored = nodes[0].input[index], {t.name: t for t in model.graph.initializer}
    if sum(name in n.input for n in model.graph.node) > len(nodes):
        name = next(f"{name}_{k}" for k in range(len(stored) + 1) if f"{name}_{k}" not in stored)
    for node in nodes:
        node.input[index] = name
    tensor = numpy_helper.from_array(array, name)
    if name in stored:
        stored[name].CopyFrom(tensor)
    else:
        model.graph.initializer.append(tensor)


@overload
def set_range(
    model: onnx.ModelProto, tensor: Tensors, rmin: float, rmax: float, biases: Mapping[str, np.ndarray] | None = None
) -> onnx.ModelProto: ...


@overload
def set_range(
    model: StrPath, tensor: Tensors, rmin: float, rmax: float, biases: Mapping[str, np.ndarray] | None = None
) -> Path: ...


def set_range(
    model: onnx.ModelProto | StrPath,
    tensor: Tensors,
    rmin: float,
    rmax: float,
    biases: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto | Path:
    """Give one activation of a QDQ graph another range: S = (rmax − rmin)/(qmax − qmin) in all its Q and DQ nodes.

    The dtype stays (uint8, uint16). Biases of the layers that read it stand at S_x·S_w, so their codes are made
    anew, q = round(q·S_old/S_new), off by up to half an old step; exactly from the real `biases`, {name: array},
    where given. Other tensors that stored their scale with this one (MaxPool's, Resize's output) keep theirs, or
    go with it: `tensor` may be several names. `model` is a ModelProto, changed in place, or a path, whose file is
    replaced; it is returned.

    Raises ValueError: no such activation (with the nearest names), a range reversed or not finite, a range so small
    that a bias needs more than 32 bits; the model is as it was then.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> from helpers.graph import list_qparams
    >>> list_qparams(set_range(net, "x", -1, 50))["x"]
    QParams(scale=0.20000000298023224, zero_point=5, dtype='uint8', axis=None)
    """
    if not isinstance(model, onnx.ModelProto):
        return save_model(set_range(read_model(model), tensor, rmin, rmax, biases), model)
    names = [tensor] if isinstance(tensor, str) else tensor
    return set_ranges(model, dict.fromkeys(names, (rmin, rmax)), biases)


def set_ranges(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]], biases: Mapping[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    """`set_range` of many activations, {tensor: (rmin, rmax)}, in one pass; the proto is changed in place.

    Tensors that store one scale together must be given one range. Raises ValueError as `set_range` does.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  y = DequantizeLinear(a, s, z) }''')
    >>> Model(set_ranges(net, {"x": (0, 127.5)})).qparams["x"].scale
    0.5
    """
    graph = Model(model)
    pairs = _pairs(graph, set(ranges))
    found = {}
    for node in pairs:
        tensor = graph.float_names[node.output[0]]
        try:
            found[node.output[0]] = choose_qparams(*ranges[tensor], graph.constants[node.input[2]].dtype.name)
        except ValueError as e:
            raise ValueError(f"tensor '{tensor}': {e}") from None
    try:
        made_anew = _biases(graph, found, biases or {})
    except OverflowError as e:
        layer, tensor = e.args
        text = f"is so small that the bias of '{layer}' needs more than 32 bits; take a wider one"
        raise ValueError(f"the range {tuple(ranges[tensor])} of tensor '{tensor}' {text}.") from None
    for index, field in ((1, "scale"), (2, "zero_point")):
        for name, nodes in _by_input(pairs, index).items():
            qp, old = found[nodes[0].output[0]], graph.constants[name]
            _store(model, nodes, index, np.full(old.shape, getattr(qp, field), old.dtype))
    for bias, codes, scale in made_anew:
        _store(model, [bias], 0, codes)
        _store(model, [bias], 1, scale)
    return model


def _by_input(nodes: list[onnx.NodeProto], index: int) -> dict[str, list[onnx.NodeProto]]:
    """{what they read as input `index`: nodes}."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        found.setdefault(node.input[index], []).append(node)
    return found


def _pairs(graph: Model, names: set[str]) -> list[onnx.NodeProto]:
    """Every Q and DQ node of the activations `names`; ValueError for a name that the graph does not quantize."""
    source = graph.float_names
    qdq = [n for n in graph.nodes if n.output[0] in source and n.input[0] not in graph.constants]
    pairs = [n for n in qdq if source[n.output[0]] in names]
    if missing := names - {source[n.output[0]] for n in pairs}:
        known = [source[n.output[0]] for n in graph.nodes if n.op_type == "QuantizeLinear"]
        near = difflib.get_close_matches(min(missing), known, 3, 0.3) or known[:3]
        raise ValueError(f"the graph quantizes no activation '{min(missing)}'; the nearest names are {near}.")
    return pairs


def _biases(
    graph: Model, found: Mapping[str, QParams], biases: Mapping[str, np.ndarray]
) -> list[tuple[onnx.NodeProto, np.ndarray, np.ndarray]]:
    """(its DQ node, codes, scale) of each bias that stands at the scale of a tensor in `found` {DQ's output: QParams}.

    Raises OverflowError with the layer's name where a code needs more than 32 bits.
    """
    made_anew: dict[str, tuple[onnx.NodeProto, np.ndarray, np.ndarray]] = {}
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.input) < 3 or node.input[0] not in found:
            continue
        bias, weight = graph.producers[node.input[2]], graph.producers[node.input[1]]
        scale = np.float32(found[node.input[0]].scale) * graph.constants[weight.input[1]].reshape(-1)
        real = biases.get(float_name(bias.input[0]))
        if real is None:
            real = graph.constants[bias.input[0]] * graph.constants[bias.input[1]].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # S_x·S_w may be less than float32 holds
            codes = np.rint(real.astype(np.float64) / scale)
        if not np.abs(codes).max(initial=0) <= qrange("int32")[1]:
            raise OverflowError(node.name, graph.float_names[node.input[0]])
        made_anew[node.input[2]] = bias, codes.astype(np.int32), scale
    return list(made_anew.values())


# What the HTP computes in one kernel with the Conv before it, without its 8-bit codes in between: measured on
# onnxruntime-qnn 2.7.0. Sigmoid, HardSigmoid, SiLU, Elu, Tanh, Gelu, Softplus, Abs, Neg and MaxPool read the codes.
FUSED_BEHIND_CONV = {"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish"}


def expose(qdq_model: ModelLike, tensors: Iterable[str], out: StrPath) -> Path:
    """Write the same QDQ graph with the codes of some inner `tensors` (float graph's names) as further outputs.

    An output more can break a fusion around it. Between a Conv and a Relu, Clip, LeakyRelu, PRelu or HardSwish the HTP
    keeps no 8-bit codes: those shown are not what it computes with, and behind them other codes can come. That warns
    (UserWarning). Elsewhere the codes stay, the time does not. Raises ValueError for a tensor without a QuantizeLinear.
    """
    graph = Model.of(qdq_model).copy()
    model = graph.proto
    made = {float_name(n.input[0]): n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    zeros = {t.name: t.data_type for t in model.graph.initializer}
    shapes = {v.name: v.type.tensor_type.shape for v in graph.inferred.graph.value_info}
    convs = {float_name(n.output[0]) for n in graph.nodes if n.op_type == "Conv"}
    fused = {graph.float_names.get(n.input[0]): n.op_type for n in graph.nodes if n.op_type in FUSED_BEHIND_CONV}
    for tensor in tensors:
        if tensor in convs and tensor in fused:
            text = f"the HTP computes Conv and {fused[tensor]} as one, without the 8-bit codes of '{tensor}' in between"
            warnings.warn(f"{text}; to show them can change the codes behind them.", stacklevel=2)
        if tensor not in made:
            near = difflib.get_close_matches(tensor, made, 3, 0)
            raise ValueError(f"{qdq_model}: tensor '{tensor}' is not quantized; the nearest that are: {near}.")
        codes = made[tensor].output[0]
        shape = [d.dim_value for d in shapes[codes].dim]
        model.graph.output.append(onnx.helper.make_tensor_value_info(codes, zeros[made[tensor].input[2]], shape))
    return save_model(model, out)
