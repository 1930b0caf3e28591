"""What a layer with weights reads, in numbers: the mean of its inputs and their second moments."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import onnx
from tqdm.auto import tqdm

from helpers.graph import Feed, Model, ModelLike, float_model
from helpers.qdq.parts import Parts

_PLACES = 256  # output places per feed whose inputs are looked at
Moments = dict[str, tuple[np.ndarray, np.ndarray]]  # {name of weights: (mean of patches K, X^T X/n K×K)}


def input_moments(
    fp32: ModelLike, feeds: Iterable[Feed], places: int = _PLACES, only: Collection[str] | None = None
) -> Moments:
    """What each layer with weights reads: {name of its weights: (mean of its inputs, K; X^T X/n, K×K)}.

    Layers are Conv (K = I·kh·kw), Gemm and MatMul with stored weights (K×C or C×K). `places` random outputs of each
    feed count; `only` names fewer weights. A Conv of G groups gives G×K and G×K×K. Raises ValueError for a
    quantized model, and where there is nothing to look at.
    """
    model = float_model(fp32)
    layers = [_copy(n) for n in weight_layers(model) if only is None or n.input[1] in only]
    stored = stored_tensors(model)
    shapes = {n.input[1]: tuple(stored[n.input[1]].dims) for n in layers}
    names = sorted({n.input[0] for n in layers})
    look = Parts(model, [names], optimize=True)
    del model, stored  # the session has its own weights
    random = np.random.default_rng(0)
    sums: Moments = {}
    count: dict[str, int] = {}
    for feed in tqdm(feeds, desc="inputs", unit="feed"):
        values = next(look(dict(feed)))
        for node in layers:
            name, groups = node.input[1], groups_of(node)
            x = _inputs(node, values[node.input[0]], shapes[name], places, random)
            parts = x.reshape(len(x), groups, -1).transpose(1, 0, 2)
            if name not in sums:
                width = parts.shape[2]
                sums[name] = (np.zeros((groups, width), np.float32), np.zeros((groups, width, width), np.float32))
            for k, part in enumerate(parts):
                _add((sums[name][0][k], sums[name][1][k]), part)
            count[name] = count.get(name, 0) + len(x)
    if not sums:
        raise ValueError(f"{fp32}: no feeds or no layers with weights to look at; give inputs, and such a model.")
    for name, found in sums.items():
        for total in found:
            total /= count[name]
    return {name: (m[0], s[0]) if len(m) == 1 else (m, s) for name, (m, s) in sums.items()}


def _add(sums: tuple[np.ndarray, np.ndarray], x: np.ndarray) -> None:
    """Add n×K inputs to their sum and to X^T X, the latter in rows, so that no second K×K is made."""
    total, second = sums
    total += x.sum(0)
    for a in range(0, x.shape[1], 512):
        second[a : a + 512] += x[:, a : a + 512].T @ x


def stored_tensors(model: Model) -> dict[str, onnx.TensorProto]:
    """{name: what is stored under it}, not copied as `Model.constants` are."""
    values = {n.output[0]: n.attribute[0] for n in model.nodes if n.op_type == "Constant"}
    stored = {name: value.t for name, value in values.items() if value.name == "value"}
    return stored | {t.name: t for t in model.proto.graph.initializer}


def weight_layers(model: Model) -> list[onnx.NodeProto]:
    """Conv, Gemm and MatMul nodes with stored weights, in graph order, each weight once."""
    stored, found = stored_tensors(model), dict[str, onnx.NodeProto]()
    for node in model.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in stored:
            continue
        dims = len(stored[node.input[1]].dims)
        if dims == (4 if node.op_type == "Conv" else 2) and not attribute(node, "transA", 0):
            found.setdefault(node.input[1], node)
    return list(found.values())


def groups_of(node: onnx.NodeProto) -> int:
    """How many groups a convolution has; 1 for any other layer."""
    return attribute(node, "group", 1)


def in_rows(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """A layer's weights as C×K, a row for each output channel: a Gemm or MatMul may store them as K×C.

    >>> in_rows(onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), np.zeros((3, 2))).shape
    (2, 3)
    """
    if node.op_type == "Conv":
        return weight.reshape(len(weight), -1)
    return weight if attribute(node, "transB", 0) else weight.T


def as_stored(node: onnx.NodeProto, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `in_rows`."""
    if node.op_type == "Conv":
        return rows.reshape(shape)
    return rows if attribute(node, "transB", 0) else rows.T


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node alone: one that lies in a graph keeps the whole graph in memory."""
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    return alone


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node, or what stands for it where there is none."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _inputs(node: onnx.NodeProto, x, shape, places: int, random: np.random.Generator) -> np.ndarray:
    """n×K inputs of n random outputs of a layer; a grouped convolution's K counts the channels of all groups."""
    if node.op_type == "Conv":
        return _patches(node, x, shape, places, random)
    rows = x.reshape(-1, x.shape[-1])
    return rows[random.choice(len(rows), min(places, len(rows)), replace=False)].astype(np.float32)


def _patches(node: onnx.NodeProto, x, shape, places: int, random: np.random.Generator) -> np.ndarray:
    """n×K inputs of n random outputs of a convolution, K in the order of its weights."""
    high, wide = shape[2:]
    sy, sx = attribute(node, "strides", (1, 1))
    dy, dx = attribute(node, "dilations", (1, 1))
    up, left, down, right = attribute(node, "pads", (0, 0, 0, 0))
    x = np.pad(x[0], ((0, 0), (up, down), (left, right)))
    rows = (x.shape[1] - (high - 1) * dy - 1) // sy + 1
    columns = (x.shape[2] - (wide - 1) * dx - 1) // sx + 1
    chosen = random.choice(rows * columns, min(places, rows * columns), replace=False)
    r, c = np.unravel_index(chosen, (rows, columns))
    taps = [x[:, r * sy + i * dy, c * sx + j * dx] for i in range(high) for j in range(wide)]
    return np.stack(taps, 1).reshape(-1, len(r)).T.astype(np.float32)
