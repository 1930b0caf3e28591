"""Weights written anew, with the inputs in view: other codes, other scales, and the biases that fit them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from tqdm.auto import tqdm

from helpers.graph import Feed, Model, ModelLike, StrPath, float_model, float_name, read_model, save_model
from helpers.qdq.parts import in_groups
from helpers.repair.moments import as_stored, groups_of, in_rows, input_moments, stored_tensors, weight_layers
from helpers.repair.rows import CODES, best_scales, nearest_rows, round_rows

_HELD = 1 << 27  # bytes of second moments held at once; for more, the feeds are run through again


class Layer(NamedTuple):
    """A layer's weights C×K as real numbers, their scales C, its inputs' X^T X/n K×K, its codes' dtype."""

    weight: np.ndarray
    scale: np.ndarray
    second: np.ndarray
    dtype: str


Choose = Callable[[Layer], tuple[np.ndarray, np.ndarray]]  # → (codes C×K, scales C)


def rewrite(fp32: ModelLike, qdq_model: StrPath, feeds: Iterable[Feed], out: StrPath, choose: Choose) -> Path:
    """Give each Conv, Gemm and MatMul of a QDQ graph what `choose` makes of its `Layer`, and the bias that fits it.

    The bias, where there is one, takes what the new codes lose on the mean input: b + (w − ŵ)·E[x], and stands at
    S_x·S_w. A convolution's groups are layers of their own. Weights are int8, or int4 with a scale for each channel.
    Raises ValueError, naming the weights, for others.
    """
    real, model = float_model(fp32), read_model(qdq_model)
    stored = stored_tensors(Model(model))
    source = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    layers = {n.input[1]: list(n.input) for n in weight_layers(real)}
    batches = _batches(real)
    del real  # 100 MB for YOLOv8m: read again for each batch, and let go while its codes are searched
    found = _layers(model, source, layers, qdq_model, fp32)
    for name, node in found.items():
        _check_weights(stored, source[node.input[1]], f"{qdq_model}: its weights '{name}'")
    with tqdm(total=len(found), desc="round", unit="layer") as bar:
        for names in batches:
            wanted = [name for name in names if name in found]
            if not wanted:
                continue
            floats = _arrays(fp32, [t for name in wanted for t in layers[name][1:3]])
            moments = input_moments(fp32, feeds, only=wanted)
            for name in wanted:
                arrays = [floats[t] for t in layers[name][1:3]]
                _rewrite_one(stored, source, found[name], arrays, moments.pop(name), choose)  # popped: it is let go
                bar.update()
    return save_model(model, out)


def _batches(model: Model) -> list[list[str]]:
    """Names of layers' weights in graph order, in lists whose second moments take at most `_HELD` bytes."""
    stored, sizes = stored_tensors(model), {}
    for node in weight_layers(model):
        shape = tuple(stored[node.input[1]].dims)
        width = in_rows(node, np.broadcast_to(np.float32(0), shape)).shape[1]
        sizes[node.input[1]] = 4 * groups_of(node) * width**2
    return in_groups(sizes, _HELD)


def _arrays(model: ModelLike, names: list[str]) -> dict[str, np.ndarray]:
    """A few of a model's stored tensors."""
    stored = stored_tensors(float_model(model))
    return {name: numpy_helper.to_array(stored[name]) for name in names}


def _layers(
    model: onnx.ModelProto, source: dict[str, onnx.NodeProto], known: dict[str, list[str]], qdq_model, fp32
) -> dict[str, onnx.NodeProto]:
    """{float name of its weights: layer} of a QDQ graph; ValueError for weights that are not `known`."""
    found = {}
    kinds = ("Conv", "Gemm", "MatMul")
    for node in [n for n in model.graph.node if n.op_type in kinds and n.input[1] in source]:
        name = float_name(source[node.input[1]].input[0])  # the output may have lost its name to a Relu behind
        if name in known:
            found[name] = node
        elif node.op_type == "Conv":
            text = f"its weights '{name}' are not in {fp32}; give the model that it was made from"
            raise ValueError(f"{qdq_model}: {text}.")
    return found


def _check_weights(stored: dict[str, onnx.TensorProto], node: onnx.NodeProto, who: str) -> None:
    """Raise ValueError unless the weights behind a DequantizeLinear are int8, or int4 with a scale for each channel."""
    dtype, codes = _dtype(stored[node.input[0]]), stored[node.input[0]]
    if dtype not in CODES:
        raise ValueError(f"{who} are {dtype}; quantize them to int8 or int4.")
    if len(node.input) > 2 and np.any(numpy_helper.to_array(stored[node.input[2]])):
        raise ValueError(f"{who} have a zero point; quantize them symmetrically, Z = 0.")
    if dtype == "int4" and math.prod(stored[node.input[1]].dims) != codes.dims[0]:
        raise ValueError(f"{who} are int4 with one scale for all; quantize them per channel.")


def _dtype(tensor: onnx.TensorProto) -> str:
    return onnx.TensorProto.DataType.Name(tensor.data_type).lower()


def _rewrite_one(
    stored: dict[str, onnx.TensorProto],
    source: dict[str, onnx.NodeProto],
    node: onnx.NodeProto,
    floats: list[np.ndarray],
    moments: tuple[np.ndarray, np.ndarray],
    choose: Choose,
) -> None:
    """New codes and scales for the weights and the bias of a layer, in `stored`; `floats`: the real ones."""
    w = source[node.input[1]]
    rows, old = in_rows(node, floats[0]), numpy_helper.to_array(stored[w.input[1]])
    before = np.broadcast_to(old.reshape(-1), len(rows))
    codes, scale, lost = _by_groups(rows, before, moments, _dtype(stored[w.input[0]]), choose)
    scaled = not np.array_equal(scale, before)
    if scaled and old.size != len(rows):
        text = "have one scale for all; quantize them per channel"
        raise ValueError(f"the weights '{float_name(w.input[0])}' {text}.")
    if scaled:
        _put(stored, w.input[1], scale.reshape(old.shape))
    _put(stored, w.input[0], as_stored(node, codes, floats[0].shape))
    if len(floats) > 1 and len(node.input) > 2 and node.input[2] in source:
        b = source[node.input[2]]
        bias_scale = numpy_helper.to_array(stored[b.input[1]])
        if scaled:
            bias_scale = bias_scale / before * scale
            _put(stored, b.input[1], bias_scale)
        _put(stored, b.input[0], np.rint((floats[1] + lost) / bias_scale))


def _by_groups(
    rows: np.ndarray, scale: np.ndarray, moments: tuple[np.ndarray, np.ndarray], dtype: str, choose: Choose
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes C×K, scales C, what they lose on the mean input C), a group of rows for each of the moments."""
    mean, second = moments
    if mean.ndim == 1:
        mean, second = mean[None], second[None]
    made = []
    parts = zip(np.split(rows, len(mean)), np.split(scale, len(mean)), mean, second, strict=True)
    for weight, step, average, products in parts:
        codes, new = choose(Layer(weight, step, products, dtype))
        made.append((codes, new, (weight - codes * new[:, None]) @ average))
    codes, scale, lost = (np.concatenate(part) for part in zip(*made, strict=True))
    return codes, scale, lost


def _put(stored: dict[str, onnx.TensorProto], name: str, value: np.ndarray) -> None:
    """Store other values under a name, in the dtype that it has."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(stored[name].data_type)
    stored[name].CopyFrom(numpy_helper.from_array(value.astype(dtype), name))


def _to_nearest(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    return nearest_rows(layer.weight, layer.scale, layer.dtype), layer.scale


def correct_bias(fp32: ModelLike, qdq_model: StrPath, feeds: Iterable[Feed], out: StrPath) -> Path:
    """Move each bias by what rounding the weights costs on the mean input: b + (w − ŵ)·E[x], per output channel.

    E[x] comes from the float model, so the order of layers does not matter. Correcting what quantized *activations*
    cost as well made YOLOv8n worse: the means agree then, but at objects, which are rare, they are off.
    Raises ValueError where the two models do not belong together, and as `rewrite` does. Source: Nagel et al.,
    "Data-Free Quantization", 2019, section 4.2.
    """
    return rewrite(fp32, qdq_model, feeds, out, _to_nearest)


def fit_weight_scales(fp32: ModelLike, qdq_model: StrPath, feeds: Iterable[Feed], out: StrPath) -> Path:
    """Give the weights of each output channel the scale with the least error of its output; codes to nearest.

    `rows.best_scales` has the equation. It pays in 4 bits, where max|w| leaves 15 codes to all the small weights.
    Biases are corrected as in `correct_bias`. Raises ValueError as `rewrite` does, and for one scale for all channels.
    """

    def fit(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        scale = best_scales(layer.weight, layer.second, layer.dtype)
        return nearest_rows(layer.weight, scale, layer.dtype), scale

    return rewrite(fp32, qdq_model, feeds, out, fit)


def round_adaptively(fp32: ModelLike, qdq_model: StrPath, feeds: Iterable[Feed], out: StrPath) -> Path:
    """Round weights, one layer (Conv, Gemm, MatMul) at a time, so that its output changes least, not the weight.

    min Σ (x·w − x·ŵ)² over the float model's inputs x; `rows.round_rows` has the equation. Biases are corrected
    as in `correct_bias`. Scales and activations stay. Raises ValueError where the models do not belong together, and
    as `rewrite` does.
    Source: Nagel et al., "Up or Down?", 2020 (the aim); Frantar et al., "GPTQ", 2023 (the closed form).
    """

    def pay_back(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        return round_rows(layer.weight, layer.scale, layer.second, dtype=layer.dtype), layer.scale

    return rewrite(fp32, qdq_model, feeds, out, pay_back)
