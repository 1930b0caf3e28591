"""Write the QDQ form of a float model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from helpers.graph import ModelLike, StrPath, float_model, save_model
from helpers.qdq.constants import with_folded_constants

ORT_TYPES = {
    "uint8": "QUInt8",
    "int8": "QInt8",
    "uint16": "QUInt16",
    "int16": "QInt16",
    "uint4": "QUInt4",
    "int4": "QInt4",
}


def quantize_model(
    fp32: ModelLike,
    out: StrPath,
    ranges: Mapping[str, tuple[float, float]],
    *,
    activation: str = "uint8",
    weight: str = "int8",
    per_channel: bool = True,
    a16: Collection[str] = (),
) -> Path:
    """Write the QDQ form of a float model: Q/DQ pairs on every activation, weights stored as integers.

    x = S·(q − Z) with S, Z from `ranges`, {tensor: (rmin, rmax)}; weights symmetric (Z = 0), one scale per
    output channel if `per_channel`; biases int32 at S = S_x·S_w. Tensors in `a16` get uint16 activations.
    `weight` "int4" is for convolutions; what other operators store stays int8.

    Raises ValueError (already quantized, a tensor without range, unknown dtype or tensor name, 4-bit weights that the
    HTP does not take: unsigned, or with one scale for all channels).
    Source: ONNX QuantizeLinear; the rewriting is ONNX Runtime's QDQQuantizer with its QNN configuration.

    >>> import tempfile; from helpers import assets, calibrate, graph, tasks
    >>> feeds = tasks.Feeds(assets.images()[:1], assets.model())
    >>> ranges = calibrate.ranges(calibrate.observe(assets.model(), feeds), "minmax")
    >>> with tempfile.TemporaryDirectory() as d:
    ...     qdq = quantize_model(assets.model(), Path(d) / "int8.onnx", ranges)
    ...     graph.list_qparams(qdq)["images"].dtype
    'uint8'
    """
    graph = float_model(fp32)
    for dtype in (activation, weight):
        if dtype not in ORT_TYPES:
            raise ValueError(f"dtype '{dtype}' is unknown; choose one of {', '.join(ORT_TYPES)}.")
    if weight == "uint4":
        raise ValueError("weights of dtype 'uint4' are asymmetric, which the HTP runs wrong; choose 'int4'.")
    if weight == "int4" and not per_channel:
        raise ValueError("int4 weights with one scale for all channels are refused by the HTP; leave per_channel on.")
    known = {*graph.producers, *(i.name for i in graph.proto.graph.input)}
    if unknown := [t for t in (*ranges, *a16) if t not in known]:
        raise ValueError(f"{graph}: has no tensor '{unknown[0]}'; ranges and a16 must name tensors of this model.")
    for name, (low, high) in ranges.items():
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise ValueError(f"range of tensor '{name}' is ({low}, {high}); give two finite numbers, rmin ≤ rmax.")
    graph = with_folded_constants(graph)
    quantizer = _quantizer(graph.copy().proto, ranges, activation, weight, per_channel, a16)
    for name in graph.inputs:
        quantizer.quantize_activation_tensor(name)  # else a Relu or Slice that reads it would stay float
    try:
        quantizer.quantize_model()
    except ValueError as e:
        missing = re.search(r"not specified for param (\S+)\.", str(e))
        if missing is None:
            raise
        text = f"there is no range for tensor '{missing[1]}'; `calibrate.observe` this same model to get all of them"
        raise ValueError(f"{graph}: {text}.") from None
    quantizer.model.topological_sort()
    return save_model(quantizer.model.model, out)


def _quantizer(
    model: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    activation: str,
    weight: str,
    per_channel: bool,
    a16: Collection[str],
) -> Any:
    """ONNX Runtime's quantizer of `model`, which it edits, with what QNN asks for."""
    # Imported here: it takes a second, and five where torch is installed.
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    for k, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{k}"  # without a name ONNX Runtime gives no 16 bits
    overrides = {t: [{"quant_type": QuantType.QUInt16}] for t in a16}
    # With int8 weights the HTP refuses it.
    overrides |= {
        t: [{"quant_type": QuantType.QUInt8}] for t in _weights_of(model, "LayerNormalization", "BatchNormalization")
    }
    if weight == "int4":
        int8 = {"quant_type": QuantType.QInt8, "symmetric": True}
        overrides |= {t: [int8] for t in _weights_of(model, "MatMul", "Gemm", "ConvTranspose")}
    config = get_qnn_qdq_config(
        model,
        None,
        activation_type=QuantType[ORT_TYPES[activation]],
        weight_type=QuantType[ORT_TYPES[weight]],
        per_channel=per_channel,
        weight_symmetric=True,  # the default leaves INT4 weights asymmetric, which HTP runs silently wrong
        init_overrides=overrides,
    )
    found = {t: TensorData(lowest=np.float32(low), highest=np.float32(high)) for t, (low, high) in ranges.items()}
    return QDQQuantizer(
        model,
        per_channel=config.per_channel,
        reduce_range=False,
        weight_qType=config.weight_type,
        activation_qType=config.activation_type,
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=config.op_types_to_quantize,
        # Else a Transpose or Slice behind a Cast stays float.
        extra_options=config.extra_options | {"ForceQuantizeNoInputCheck": True},
    )


def _weights_of(model: onnx.ModelProto, *operators: str) -> list[str]:
    """Stored weights that nodes of these operators read."""
    stored = {t.name for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in operators]
    return [n.input[1] for n in nodes if n.input[1] in stored]
