"""The QDQ graph as a contract: where the compiler may compute in integers, and with which scales."""

from __future__ import annotations

import difflib
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from . import head
from .affine import choose_qparams, qrange
from .contract import Group, float_name, fused_groups, list_qparams, sources
from .graph import constants, float_model, read_model, save_model

__all__ = [
    "Group",
    "expose",
    "float_name",
    "fused_groups",
    "head_convs",
    "layer_sqnr",
    "list_qparams",
    "quantize_model",
    "set_range",
    "split_head",
]

ORT_TYPES = {
    "uint8": "QUInt8",
    "int8": "QInt8",
    "uint16": "QUInt16",
    "int16": "QInt16",
    "uint4": "QUInt4",
    "int4": "QInt4",
}


def head_convs(model: onnx.ModelProto) -> list[str]:
    """Output tensors of YOLOv8's last convolutions: (boxes, scores) per stride, finest stride first; `head.find`."""
    return head.find(model).outputs


def split_head(model_path, out) -> Path:
    """Cut a YOLOv8 graph at its last convolutions, so that boxes and scores each keep a scale of their own.

    The full graph ends in one Concat of boxes (0…640) and scores (0…1); under one 8-bit scale,
    S = 640/255 ≈ 2.5, every score is below half a step and becomes 0. `vision` decodes outside of the graph.
    Outputs: (box logits 1×4·reg_max×H×W, class logits 1×classes×H×W) per stride, finest first. Any version of
    Ultralytics may have exported it, with any number of strides.

    Raises ValueError (no YOLOv8 head, dynamic input, not ONNX). Source: Ultralytics' `Detect` module;
    Li et al., "Generalized Focal Loss", 2020 (DFL).

    >>> import tempfile; from helpers import assets
    >>> with tempfile.TemporaryDirectory() as d:
    ...     len(read_model(split_head(assets.model(), Path(d) / "split.onnx")).graph.output)
    6
    """
    model = read_model(model_path)
    try:
        outputs = head_convs(model)
    except ValueError as e:
        raise ValueError(f"{model_path}: {e}") from None
    cut = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(
        [i.name for i in model.graph.input], outputs
    )
    cut.metadata_props.extend(model.metadata_props)
    _store_constants(cut.graph)
    return save_model(cut, out)


def _store_constants(graph: onnx.GraphProto) -> None:
    """Make stored tensors of Constant nodes, as exports without a simplifier have them: quantizing asks for ranges."""
    for node in [n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def quantize_model(fp32, out, ranges, *, activation="uint8", weight="int8", per_channel=True, a16=()) -> Path:
    """Write the QDQ form of a float model: Q/DQ pairs on every activation, weights stored as integers.

    x = S·(q − Z) with S, Z from `ranges`, {tensor: (rmin, rmax)}; weights symmetric (Z = 0), one scale per
    output channel if `per_channel`; biases int32 at S = S_x·S_w. Tensors in `a16` get uint16 activations.

    Raises ValueError (already quantized, a tensor without range, unknown dtype or tensor name).
    Source: ONNX QuantizeLinear; the rewriting is ONNX Runtime's QDQQuantizer with its QNN configuration.

    >>> import tempfile; from helpers import assets, calibrate, vision
    >>> feeds = vision.Feeds(assets.images()[:1], assets.model())
    >>> ranges = {t: calibrate.minmax(h) for t, h in calibrate.observe(assets.model(), feeds).items()}
    >>> with tempfile.TemporaryDirectory() as d:
    ...     qdq = quantize_model(assets.model(), Path(d) / "int8.onnx", ranges)
    ...     list_qparams(qdq)["images"].dtype
    'uint8'
    """
    # Imported here: it takes a second, and five where torch is installed.
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    model = float_model(fp32)
    for dtype in (activation, weight):
        if dtype not in ORT_TYPES:
            raise ValueError(f"dtype '{dtype}' is unknown; choose one of {', '.join(ORT_TYPES)}.")
    tensors = {o for n in model.graph.node for o in n.output} | {i.name for i in model.graph.input}
    if unknown := [t for t in (*ranges, *a16) if t not in tensors]:
        raise ValueError(f"{fp32}: has no tensor '{unknown[0]}'; ranges and a16 must name tensors of this model.")
    for name, (lo, hi) in ranges.items():
        if not (np.isfinite(lo) and np.isfinite(hi) and lo <= hi):
            raise ValueError(f"range of tensor '{name}' is ({lo}, {hi}); give two finite numbers, rmin ≤ rmax.")

    overrides = {t: [{"quant_type": QuantType.QUInt16}] for t in a16}
    config = get_qnn_qdq_config(
        model,
        None,
        activation_type=QuantType[ORT_TYPES[activation]],
        weight_type=QuantType[ORT_TYPES[weight]],
        per_channel=per_channel,
        weight_symmetric=True,  # the default leaves INT4 weights asymmetric, which HTP runs silently wrong
        init_overrides=overrides,
    )
    found = {t: TensorData(lowest=np.float32(lo), highest=np.float32(hi)) for t, (lo, hi) in ranges.items()}
    quantizer = QDQQuantizer(
        model,
        per_channel=config.per_channel,
        reduce_range=False,
        weight_qType=config.weight_type,
        activation_qType=config.activation_type,
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=config.op_types_to_quantize,
        extra_options=config.extra_options,
    )
    try:
        quantizer.quantize_model()
    except ValueError as e:
        if missing := re.search(r"not specified for param (\S+)\.", str(e)):
            text = (
                f"there is no range for tensor '{missing[1]}'; `calibrate.observe` this same model to get all of them."
            )
            raise ValueError(f"{fp32}: {text}") from None
        raise
    quantizer.model.topological_sort()
    return save_model(quantizer.model.model, out)


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


def layer_sqnr(fp32, qdq, feeds, target: str = "cpu", *, isolated: bool = False, only: str | None = None):
    """SQNR of every activation in graph order, {tensor: dB}: `attribution.layer_sqnr` under the name of its subject."""
    from .attribution import layer_sqnr  # it runs graphs, which reading and writing them does not need

    return layer_sqnr(fp32, qdq, feeds, target, isolated=isolated, only=only)
