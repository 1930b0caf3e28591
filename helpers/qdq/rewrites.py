"""A float graph made simpler, step by step, without a change of what it computes."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnx.inliner
import onnxruntime as ort

from helpers.graph import Model, is_large
from helpers.qdq.activation_chains import with_activations
from helpers.targets.onnxruntime_session import open_session, session_options

PLAIN, GELU = 17, 20  # operator sets: the one that has LayerNormalization, and the one that has Gelu
QUANTIZABLE = 13  # below it DequantizeLinear knows no scale per channel


def _opset(model: Model) -> int:
    return next(o.version for o in model.proto.opset_import if o.domain in ("", "ai.onnx"))


def upgraded(model: Model) -> tuple[Model, str]:
    """The graph in operator set 17, or 20 where an Erf may be part of a Gelu, and a line that says so, "" if it is.

    Raises ValueError where onnx cannot convert a graph that is too old to be quantized.
    Source: onnx.version_converter.
    """
    old = _opset(model)
    wanted = GELU if any(n.op_type == "Erf" for n in model.nodes) else PLAIN
    if old >= wanted:
        return model, ""
    inlined = onnx.inliner.inline_local_functions(model.proto) if model.proto.functions else model.proto
    try:
        made = onnx.version_converter.convert_version(inlined, wanted)
    except Exception as e:
        if old >= QUANTIZABLE:
            return model, ""
        text = f"operator set {old} cannot be upgraded ({' '.join(str(e).split())[:120]})"
        raise ValueError(f"{model}: {text}; export it with operator set {PLAIN}.") from None
    made.metadata_props.extend(p for p in model.proto.metadata_props if p not in made.metadata_props)
    return Model(made, model.path), f"operator set {old} → {wanted}"


def folded(model: Model) -> tuple[Model, str]:
    """The graph as ONNX Runtime's basic optimisations leave it, and a line that counts what went, "" if nothing did.

    Constant and Identity nodes and shape arithmetic go, BatchNormalization goes into its Conv, chains of nodes become
    LayerNormalization, Gelu, HardSwish. Raises RuntimeError where ONNX Runtime does not know an operator.
    Source: ONNX Runtime, "Graph optimizations".
    """
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as work:
        options.optimized_model_filepath = str(Path(work) / "folded.onnx")
        if is_large(model.proto):
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "folded.data")
        # TransposeOptimizer moves transposes about; on nets with attention more of them were left than before.
        open_session(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["TransposeOptimizer"])
        proto = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in proto.graph.node}
    needed = [o for o in proto.opset_import if o.domain in {*used, ""}]
    del proto.opset_import[:]
    proto.opset_import.extend(needed)
    del proto.metadata_props[:]
    proto.metadata_props.extend(model.proto.metadata_props)
    made, _ = with_activations(Model(proto, model.path))
    return _told(model, made)


def _told(before: Model, after: Model) -> tuple[Model, str]:
    """The folded graph and what went; the graph itself where no operator did."""
    old, new = (Counter(n.op_type for n in m.nodes) for m in (before, after))
    if old == new:
        return before, ""
    gone = ", ".join(f"{count} {op}" for op, count in (old - new).most_common(4))
    came = ", ".join(f"{count} {op}" for op, count in (new - old).most_common())
    became = f", among what came: {came}" if came else ""
    return after, f"folded from {len(before.nodes)} nodes to {len(after.nodes)}, among what went: {gone}{became}"


def with_pads(model: Model) -> tuple[Model, str]:
    """The graph with `pads` in the place of `auto_pad`, and a line that counts them, "" if there are none.

    SAME_UPPER and SAME_LOWER: p = max((⌈n/s⌉ − 1)·s + (k − 1)·d + 1 − n, 0) per axis, the odd one at the end or at
    the beginning. Where an input's size is not known, and for a ConvTranspose, `auto_pad` stays.
    Source: ONNX Conv, MaxPool and AveragePool.
    """
    other, count = model.copy(), 0
    for node in other.proto.graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        way = given.pop("auto_pad", b"NOTSET").decode()
        size = model.shapes.get(node.input[0], ())[2:] if node.input else ()
        if node.op_type not in ("Conv", "MaxPool", "AveragePool", "LpPool") or way == "NOTSET" or not all(size):
            continue
        kernel = given.get("kernel_shape") or (model.shapes[node.input[1]][2:] if node.op_type == "Conv" else ())
        given["pads"] = _pads(way, size, kernel, given.get("strides"), given.get("dilations"))
        node.CopyFrom(onnx.helper.make_node(node.op_type, node.input, node.output, node.name, **given))
        count += 1
    return (other, f"{count} auto_pad resolved to pads") if count else (model, "")


def _pads(way: str, size, kernel, strides, dilations) -> list[int]:
    """Begin of every axis, then end of every axis."""
    strides, dilations = strides or [1] * len(size), dilations or [1] * len(size)
    totals = [
        0 if way == "VALID" else max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return [*large, *small] if way == "SAME_LOWER" else [*small, *large]
