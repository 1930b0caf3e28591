"""Change a QDQ graph: another range for a tensor, an inner tensor as an output."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from helpers.affine import choose_qparams, qrange
from helpers.graph import (
    constants,
    float_name,
    read_model,
    save_model,
    sources,
)


def _store(model: onnx.ModelProto, nodes: list, index: int, array: np.ndarray) -> None:
    """Give `nodes`, which read one constant as input `index`, another: in place if no other node reads it."""
    name, stored = nodes[0].input[index], {t.name: t for t in model.graph.initializer}
    if sum(name in n.input for n in model.graph.node) > len(nodes):
        name = next(f"{name}_{k}" for k in range(len(stored) + 1) if f"{name}_{k}" not in stored)
    for node in nodes:
        node.input[index] = name
    tensor = numpy_helper.from_array(array, name)
    stored[name].CopyFrom(tensor) if name in stored else model.graph.initializer.append(tensor)


def set_range(model, tensor, rmin: float, rmax: float, biases=None):
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
    graph, source, stored = model.graph, sources(model), constants(model)
    names = {tensor} if isinstance(tensor, str) else set(tensor)
    pairs = [
        n
        for n in graph.node
        if n.op_type in ("QuantizeLinear", "DequantizeLinear")
        and n.input[0] not in stored
        and source[n.output[0]] in names
    ]
    if missing := names - {source[n.output[0]] for n in pairs}:
        tensor = min(missing)
        known = [source[n.output[0]] for n in graph.node if n.op_type == "QuantizeLinear"]
        near = difflib.get_close_matches(tensor, known, 3, 0.3) or known[:3]
        raise ValueError(f"the graph quantizes no activation '{tensor}'; the nearest names are {near}.")
    try:
        found = {n.output[0]: choose_qparams(rmin, rmax, stored[n.input[2]].dtype.name) for n in pairs}
    except ValueError as e:
        raise ValueError(f"tensor '{tensor}': {e}") from None
    made = {name: node for node in graph.node for name in node.output}
    made_anew = {}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 2 and node.input[0] in found:
            bias, weight = made[node.input[2]], made[node.input[1]]
            scale = np.float32(found[node.input[0]].scale) * stored[weight.input[1]].reshape(-1)
            real = (biases or {}).get(float_name(bias.input[0]))
            if real is None:
                real = stored[bias.input[0]] * stored[bias.input[1]].astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):  # S_x·S_w may be less than float32 holds
                codes = np.rint(real.astype(np.float64) / scale)
            if not np.abs(codes).max(initial=0) <= qrange("int32")[1]:
                text = f"is so small that the bias of '{node.name}' needs more than 32 bits; take a wider one"
                raise ValueError(f"the range ({rmin}, {rmax}) of tensor '{tensor}' {text}.")
            made_anew[node.input[2]] = bias, codes.astype(np.int32), scale
    for index, field in ((1, "scale"), (2, "zero_point")):
        for name in {n.input[index] for n in pairs}:
            nodes = [n for n in pairs if n.input[index] == name]
            qp, old = found[nodes[0].output[0]], stored[name]
            _store(model, nodes, index, np.full(old.shape, getattr(qp, field), old.dtype))
    for bias, codes, scale in made_anew.values():
        _store(model, [bias], 0, codes)
        _store(model, [bias], 1, scale)
    return model


# What the HTP computes in one kernel with the Conv before it, without its 8-bit codes in between: measured on
# onnxruntime-qnn 2.7.0. Sigmoid, HardSigmoid, SiLU, Elu, Tanh, Gelu, Softplus, Abs, Neg and MaxPool read the codes.
FUSED_BEHIND_CONV = {"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish"}


def expose(qdq_model, tensors, out) -> Path:
    """Write the same QDQ graph with the codes of some inner `tensors` (float graph's names) as further outputs.

    An output more can break a fusion around it. Between a Conv and a Relu, Clip, LeakyRelu, PRelu or HardSwish the HTP
    keeps no 8-bit codes: those shown are not what it computes with, and behind them other codes can come. That warns
    (UserWarning). Elsewhere the codes stay, the time does not. Raises ValueError for a tensor without a QuantizeLinear.
    """
    model = read_model(qdq_model)
    made = {float_name(n.input[0]): n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    zeros = {t.name: t.data_type for t in model.graph.initializer}
    shapes = {v.name: v.type.tensor_type.shape for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    source = sources(model)
    convs = {float_name(n.output[0]) for n in model.graph.node if n.op_type == "Conv"}
    fused = {source.get(n.input[0]): n.op_type for n in model.graph.node if n.op_type in FUSED_BEHIND_CONV}
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
