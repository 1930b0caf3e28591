"""What a convolution reads, in numbers: the mean of its inputs and their second moments."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from tqdm.auto import tqdm

from helpers.graph import Feed, Model, ModelLike, float_model
from helpers.qdq.parts import Parts

_PLACES = 256  # output places per picture whose inputs are looked at
Moments = dict[str, tuple[np.ndarray, np.ndarray]]  # {name of weights: (mean of patches K, X^T X/n K×K)}


def input_moments(
    fp32: ModelLike, feeds: Iterable[Feed], places: int = _PLACES, only: Collection[str] | None = None
) -> Moments:
    """What each convolution reads: {name of its weights: (mean of patches, K; X^T X/n, K×K)}, K = I·kh·kw.

    `places` random outputs of each picture count; `only` names fewer weights. Grouped convolutions are left out.
    Raises ValueError for a quantized model, and where there is nothing to look at.
    """
    model = float_model(fp32)
    convs = [_copy(n) for n in plain_convs(model) if only is None or n.input[1] in only]
    stored = stored_tensors(model)
    shapes = {n.input[1]: tuple(stored[n.input[1]].dims) for n in convs}
    names = sorted({n.input[0] for n in convs})
    look = Parts(model, [names], optimize=True)
    del model, stored  # the session has its own weights
    random = np.random.default_rng(0)
    sums: Moments = {}
    count: dict[str, int] = {}
    for feed in tqdm(feeds, desc="inputs", unit="feed"):
        values = next(look(dict(feed)))
        for node in convs:
            name = node.input[1]
            x = _patches(node, values[node.input[0]], shapes[name], places, random)
            if name not in sums:
                width = x.shape[1]
                sums[name] = (np.zeros(width, np.float32), np.zeros((width, width), np.float32))
            _add(sums[name], x)
            count[name] = count.get(name, 0) + len(x)
    if not sums:
        raise ValueError(f"{fp32}: no feeds or no convolutions to look at; give pictures, and a model with Conv.")
    for name, found in sums.items():
        for total in found:
            total /= count[name]
    return sums


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


def plain_convs(model: Model) -> list[onnx.NodeProto]:
    """Convolutions with stored weights that are not grouped, in graph order."""
    stored = stored_tensors(model)
    convs = [n for n in model.nodes if n.op_type == "Conv" and n.input[1] in stored]
    return [n for n in convs if _attribute(n, "group", 1) == 1]


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node alone: one that lies in a graph keeps the whole graph in memory."""
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    return alone


def _attribute(node: onnx.NodeProto, name: str, default):
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _patches(node: onnx.NodeProto, x, shape, places: int, random: np.random.Generator) -> np.ndarray:
    """n×K inputs of n random outputs of a convolution, K in the order of its weights."""
    high, wide = shape[2:]
    sy, sx = _attribute(node, "strides", (1, 1))
    dy, dx = _attribute(node, "dilations", (1, 1))
    up, left, down, right = _attribute(node, "pads", (0, 0, 0, 0))
    x = np.pad(x[0], ((0, 0), (up, down), (left, right)))
    rows = (x.shape[1] - (high - 1) * dy - 1) // sy + 1
    columns = (x.shape[2] - (wide - 1) * dx - 1) // sx + 1
    chosen = random.choice(rows * columns, min(places, rows * columns), replace=False)
    r, c = np.unravel_index(chosen, (rows, columns))
    taps = [x[:, r * sy + i * dy, c * sx + j * dx] for i in range(high) for j in range(wide)]
    return np.stack(taps, 1).reshape(-1, len(r)).T.astype(np.float32)
