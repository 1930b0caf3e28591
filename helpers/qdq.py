"""The QDQ graph as a contract: where the compiler may compute in integers, and with which scales."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from .affine import QParams
from .graph import constants, float_model, read_model, save_model

ORT_TYPES = {
    "uint8": "QUInt8",
    "int8": "QInt8",
    "uint16": "QUInt16",
    "int16": "QInt16",
    "uint4": "QUInt4",
    "int4": "QInt4",
}


def head_convs(model: onnx.ModelProto) -> list[str]:
    """Output tensors of YOLOv8's last convolutions: (boxes, scores) per stride, finest stride first.

    Every path back from the outputs ends at a learned convolution. DFL's own only holds 0, 1, … 15:
    it is walked through, and what lies behind it are the boxes. Raises ValueError where there is no such head.
    """
    producer = {name: node for node in model.graph.node for name in node.output}
    stored = constants(model)

    def is_dfl(node):
        weight = stored.get(node.input[1], np.zeros(2)).ravel()
        return np.array_equal(weight, np.arange(weight.size))

    def last_convs(names):
        found, seen, todo = [], set(), list(names)
        while todo:
            node = producer.get(name := todo.pop(0))
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.op_type == "Conv" and not is_dfl(node):
                found.append(name)
            else:
                todo.extend(node.input)
        return found

    outputs = [o.name for o in model.graph.output]
    dfl = [n.input[0] for n in model.graph.node if n.op_type == "Conv" and is_dfl(n)]
    boxes = last_convs(dfl) if dfl else outputs[::2]  # without DFL: cut already, boxes and scores in turn
    scores = [c for c in last_convs(outputs) if c not in boxes]
    inferred = onnx.shape_inference.infer_shapes(model).graph
    area = {
        v.name: int(np.prod([d.dim_value for d in v.type.tensor_type.shape.dim[2:]]))
        for v in (*inferred.value_info, *inferred.output)
    }
    pairs = list(zip(sorted(boxes, key=area.get), sorted(scores, key=area.get), strict=False))[::-1]
    if not pairs or len(boxes) != len(scores) or any(area[b] != area[s] for b, s in pairs):
        raise ValueError("no YOLOv8 detection head found; give a YOLOv8 model exported without NMS.")
    return [name for pair in pairs for name in pair]


def split_head(model_path, out) -> Path:
    """Cut a YOLOv8 graph at its last convolutions, so that boxes and scores each keep a scale of their own.

    The full graph ends in one Concat of boxes (0…640) and scores (0…1); under one 8-bit scale,
    S = 640/255 ≈ 2.5, every score is below half a step and becomes 0. `vision` decodes outside of the graph.
    Outputs: (box logits 1×64×H×W, class logits 1×classes×H×W) per stride, finest first.

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
    return save_model(cut, out)


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


def float_name(tensor: str) -> str:
    """A tensor's name before ONNX Runtime's quantizer renamed it, at graph outputs and for stored integers."""
    return tensor.removesuffix("_QuantizeLinear_Input").removesuffix("_quantized")


def list_qparams(model) -> dict[str, QParams]:
    """The contract in numbers: {tensor of the float graph: QParams} for activations, weights and biases.

    `model` is a path or a ModelProto. The scale is a float, or an array along `axis`, as stored in the graph.

    >>> from onnx.helper import make_graph, make_model, make_node, make_tensor
    >>> s, z = make_tensor("s", 1, [], [0.5]), make_tensor("z", 2, [], [3])
    >>> q = make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    >>> list_qparams(make_model(make_graph([q], "g", [], [], [s, z])))["x"].zero_point
    3
    """
    model = model if isinstance(model, onnx.ModelProto) else read_model(model)
    stored = constants(model)
    dtypes = {t.name: onnx.TensorProto.DataType.Name(t.data_type).lower() for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" and (node.op_type != "DequantizeLinear" or node.input[0] not in stored):
            continue
        scale = stored[node.input[1]]
        zero = stored[node.input[2]] if len(node.input) > 2 else np.zeros(scale.shape, np.int64)
        if scale.size == 1:  # some per-tensor biases store their scale as a vector of one
            scale, zero = scale.reshape(()), zero.reshape(())
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1) if scale.ndim else None
        dtype = dtypes.get(node.input[2], "int32") if len(node.input) > 2 else "uint8"
        found[float_name(node.input[0])] = QParams(scale[()], zero.astype(np.int64)[()], dtype, axis)
    return found


def expose(qdq_model, tensors, out) -> Path:
    """Write the same QDQ graph with the codes of some inner `tensors` (float graph's names) as further outputs.

    An output more can break a fusion around it: the codes that are shown stay, the time does not.
    Raises ValueError for a tensor without a QuantizeLinear.
    """
    model = read_model(qdq_model)
    made = {float_name(n.input[0]): n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    zeros = {t.name: t.data_type for t in model.graph.initializer}
    shapes = {v.name: v.type.tensor_type.shape for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for tensor in tensors:
        if tensor not in made:
            near = difflib.get_close_matches(tensor, made, 3, 0)
            raise ValueError(f"{qdq_model}: tensor '{tensor}' is not quantized; the nearest that are: {near}.")
        codes = made[tensor].output[0]
        shape = [d.dim_value for d in shapes[codes].dim]
        model.graph.output.append(onnx.helper.make_tensor_value_info(codes, zeros[made[tensor].input[2]], shape))
    return save_model(model, out)


class Group(NamedTuple):
    """What a compiler may compute as one integer kernel: its op, nodes, and the float graph's tensors around it."""

    op: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str


def fused_groups(model) -> list[Group]:
    """Units of a QDQ graph in its order: an operator with the DQ before and the Q behind it; SiLU as one unit.

    x·σ(x) is a function of one 8-bit code, so Sigmoid and Mul together are a table of 256 entries, unless something
    else reads the Sigmoid too. This is the rule by which a compiler may group; what a backend did, chapter 08 measures.
    `model` is a path or a ModelProto. Source: ONNX Runtime, "Quantize ONNX models", QDQ format.

    >>> import onnx.parser
    >>> text = '''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { s = Sigmoid(x)  y = Mul(x, s) }'''
    >>> [(g.op, g.inputs, g.output) for g in fused_groups(onnx.parser.parse_model(text))]
    [('SiLU', ('x',), 'y')]
    """
    model = model if isinstance(model, onnx.ModelProto) else read_model(model)
    source = {}  # a tensor to the tensor of the float graph that it stands for
    groups = []
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source[node.output[0]] = float_name(source.get(node.input[0], node.input[0]))
        elif node.op_type != "Constant":
            inputs = tuple(source.get(t, t) for t in node.input if t)
            groups.append(Group(node.op_type, (node.name,), inputs, float_name(node.output[0])))
    read = Counter([t for g in groups for t in g.inputs] + [source.get(o.name, o.name) for o in model.graph.output])
    sigmoids = {g.output: g for g in groups if g.op == "Sigmoid" and read[g.output] == 1}
    merged, gone = [], set()
    for g in groups:
        gate = next((sigmoids[t] for t in g.inputs if t in sigmoids), None) if g.op == "Mul" else None
        if gate and set(g.inputs) == {gate.output, gate.inputs[0]}:
            gone.add(gate)
            g = Group("SiLU", gate.nodes + g.nodes, gate.inputs, g.output)
        merged.append(g)
    return [g for g in merged if g not in gone]
