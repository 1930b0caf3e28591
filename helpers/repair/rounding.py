"""Rounding weights with the inputs in view: each rounding error is paid back by the weights still to be rounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from tqdm.auto import tqdm

from helpers.graph import Model, float_model, float_name, read_model, save_model
from helpers.qdq.parts import Parts, in_groups

_PLACES = 256  # output places per picture whose inputs are looked at
_HELD = 1 << 27  # bytes of second moments held at once; for more, the feeds are run through again
Choose = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (weights C×K, scales C, X^T X/n) → codes C×K


def input_moments(fp32, feeds, places: int = _PLACES, only=None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What each convolution reads: {name of its weights: (mean of patches, K; X^T X/n, K×K)}, K = I·kh·kw.

    `places` random outputs of each picture count; `only` names fewer weights. Grouped convolutions are left out.
    """
    model = float_model(fp32)
    convs = [_copy(n) for n in _plain(model) if only is None or n.input[1] in only]
    stored = _stored(model)
    shapes = {n.input[1]: tuple(stored[n.input[1]].dims) for n in convs}
    names = sorted({n.input[0] for n in convs})
    look = Parts(model, [names], optimize=True)
    del model, stored  # the session has its own weights
    random = np.random.default_rng(0)
    sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    count: dict[str, int] = {}
    for feed in tqdm(feeds, desc="inputs", unit="feed"):
        values = next(look(feed))
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


def _stored(model: Model) -> dict[str, onnx.TensorProto]:
    """{name: what is stored under it}, not copied as `Model.constants` are."""
    values = {n.output[0]: n.attribute[0] for n in model.nodes if n.op_type == "Constant"}
    stored = {name: value.t for name, value in values.items() if value.name == "value"}
    return stored | {t.name: t for t in model.proto.graph.initializer}


def _plain(model: Model) -> list[onnx.NodeProto]:
    """Convolutions with stored weights that are not grouped, in graph order."""
    stored = _stored(model)
    convs = [n for n in model.nodes if n.op_type == "Conv" and n.input[1] in stored]
    return [n for n in convs if _attribute(n, "group", 1) == 1]


def _batches(model: Model) -> list[list[str]]:
    """Names of convolutions' weights in graph order, in lists whose second moments take at most `_HELD` bytes."""
    stored, names = _stored(model), [n.input[1] for n in _plain(model)]
    return in_groups({name: 4 * math.prod(stored[name].dims[1:]) ** 2 for name in names}, _HELD)


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


def round_rows(weight, scale, second, damp: float = 0.01, block: int = 128) -> np.ndarray:
    """Codes of C×K weights that keep Σ(x·w − x·ŵ)² small where `second` = X^T X/n is K×K; `scale` is C long.

    Columns are rounded in turn, the loudest input first; with U^T·U = (second + λ)⁻¹, U upper triangular, the error
    e of column i moves the later ones by −e·U_ij/U_ii. λ is `damp` times the mean diagonal.
    Source: Frantar et al., "GPTQ", 2023; Hassibi & Stork, "Optimal Brain Surgeon", 1993.

    >>> x = np.array([[1.0, 1.0]])  # what one weight loses, the other one gives
    >>> round_rows(np.array([[0.4, 0.4]]), np.array([1.0]), x.T @ x).sum()
    np.float32(1.0)
    """
    order = np.argsort(-np.diag(second), kind="stable")
    rest = weight[:, order].astype(np.float32)
    upper = _upper_root(second, order, damp)
    codes = np.empty_like(rest)
    step = np.asarray(scale, np.float32)[:, None]
    for a in range(0, rest.shape[1], block):
        b = min(a + block, rest.shape[1])
        now, u = rest[:, a:b], upper[a:b, a:b]
        error = np.empty_like(now)
        for i in range(b - a):
            q = np.clip(np.rint(now[:, i : i + 1] / step), -127, 127)
            error[:, i : i + 1] = (now[:, i : i + 1] - q * step) / u[i, i]
            now[:, i + 1 :] -= error[:, i : i + 1] * u[i, i + 1 :]
            codes[:, a + i] = q[:, 0]
        rest[:, b:] -= error @ upper[a:b, b:]
    return codes[:, np.argsort(order)]


def _upper_root(second, order, damp: float, block: int = 512) -> np.ndarray:
    """U, upper triangular, with U^T·U = (second + λ)⁻¹, rows and columns in `order`; a copy in float64, no more."""
    back = order[::-1]  # a lower root of the reversed matrix, reversed again, is an upper one
    h = np.empty(second.shape)
    for a in range(0, len(h), block):
        h[a : a + block] = second[np.ix_(back[a : a + block], back)]
    h[np.diag_indices_from(h)] += damp * np.diag(h).mean() + 1e-12
    return _inverse_root(h)[::-1, ::-1].astype(np.float32)


def _inverse_root(h: np.ndarray, block: int = 256) -> np.ndarray:
    """L⁻¹, lower triangular, of h = L·Lᵀ, block by block in the memory of h: K = 5184 takes 0.2 GB and not 1 GB.

    >>> np.round(_inverse_root(np.array([[4.0, 2.0], [2.0, 2.0]])), 6)
    array([[ 0.5,  0. ],
           [-0.5,  1. ]])
    """
    steps = [slice(a, min(a + block, len(h))) for a in range(0, len(h), block)]
    for s in steps:  # h becomes L, its blocks above the diagonal stay unread
        h[s.start :, s] -= h[s.start :, : s.start] @ h[s, : s.start].T
        h[s, s] = np.linalg.cholesky(h[s, s])
        h[s.stop :, s] = h[s.stop :, s] @ np.linalg.inv(h[s, s]).T
    for s in steps:  # L becomes L⁻¹: the inverse of [[A, 0], [B, C]] is [[A⁻¹, 0], [−C⁻¹·B·A⁻¹, C⁻¹]]
        h[s, s] = np.linalg.inv(h[s, s])
        h[s, : s.start] = -h[s, s] @ (h[s, : s.start] @ h[: s.start, : s.start])
        h[s, s.stop :] = 0
    return h


def rewrite(fp32, qdq, feeds, out, choose: Choose) -> Path:
    """Give each convolution of `qdq` the codes `choose(weight C×K, scale C, second)`, and the bias that fits them.

    The bias takes what the new codes lose on the mean input: b + (w − ŵ)·E[x]. Scales stay as they are.
    """
    real, model = float_model(fp32), read_model(qdq)
    stored = _stored(Model(model))
    source = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    convs = {n.input[1]: list(n.input) for n in real.nodes if n.op_type == "Conv"}
    batches = _batches(real)
    del real  # 100 MB for YOLOv8m: read again for each batch, and let go while its codes are searched
    found = _convolutions(model, stored, source, convs, qdq, fp32)
    with tqdm(total=len(found), desc="round", unit="conv") as bar:
        for names in batches:
            wanted = [name for name in names if name in found]
            floats = _arrays(fp32, [t for name in wanted for t in convs[name][1:3]])
            moments = input_moments(fp32, feeds, only=names)
            for name in wanted:
                w, b = (source[t] for t in found[name].input[1:3])
                weight, bias = (floats[t] for t in convs[name][1:3])
                _rewrite_one(stored, w, b, weight, bias, *moments.pop(name), choose)  # popped: it is let go
                bar.update()
    return save_model(model, out)


def _arrays(model, names: list[str]) -> dict[str, np.ndarray]:
    """A few of a model's stored tensors."""
    stored = _stored(float_model(model))
    return {name: numpy_helper.to_array(stored[name]) for name in names}


def _convolutions(model: onnx.ModelProto, stored, source, known, qdq, fp32) -> dict[str, onnx.NodeProto]:
    """{float name of its weights: convolution} of a QDQ graph; ValueError for weights not `known`, or not int8."""
    found = {}
    for node in [n for n in model.graph.node if n.op_type == "Conv" and n.input[1] in source and len(n.input) > 2]:
        codes = source[node.input[1]].input[0]
        name = float_name(codes)  # the output may have lost its name to a Relu behind
        if name not in known:
            raise ValueError(f"{qdq}: its weights '{name}' are not in {fp32}; give the model that it was made from.")
        if stored[codes].data_type != onnx.TensorProto.INT8:
            raise ValueError(f"{qdq}: its weights '{name}' are not int8; quantize them so.")
        found[name] = node
    return found


def _rewrite_one(stored, w: onnx.NodeProto, b: onnx.NodeProto, weight, bias, mean, second, choose: Choose) -> None:
    """New codes for the weights and the bias behind the DequantizeLinears `w` and `b`, in `stored`."""
    scale, bias_scale = (numpy_helper.to_array(stored[n.input[1]]) for n in (w, b))
    flat = weight.reshape(len(weight), -1)
    scale = np.broadcast_to(scale, len(flat))
    codes = choose(flat, scale, second)
    lost = (flat - codes * scale[:, None]) @ mean
    for target, value in ((w, codes.reshape(weight.shape)), (b, np.rint((bias + lost) / bias_scale))):
        old = stored[target.input[0]]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(old.data_type)
        old.CopyFrom(numpy_helper.from_array(value.astype(dtype), old.name))


def correct_bias(fp32, qdq_model, feeds, out) -> Path:
    """Move each bias by what rounding the weights costs on the mean input: b + (w − ŵ)·E[x], per output channel.

    E[x] comes from the float model, so the order of layers does not matter. Correcting what quantized *activations*
    cost as well made YOLOv8n worse: the means agree then, but at objects, which are rare, they are off.
    Raises ValueError where the two models do not belong together. Source: Nagel et al., "Data-Free
    Quantization", 2019, section 4.2.
    """
    return rewrite(fp32, qdq_model, feeds, out, lambda w, s, _: np.clip(np.rint(w / s[:, None]), -127, 127))


def round_adaptively(fp32, qdq_model, feeds, out) -> Path:
    """Round weights, one convolution at a time, so that its output, not the weight itself, changes least.

    min Σ (x·w − x·ŵ)² over the float model's inputs x; `rounding.round_rows` has the equation. Biases are corrected
    as in `correct_bias`. Scales and activations stay. Raises ValueError where the models do not belong together.
    Source: Nagel et al., "Up or Down?", 2020 (the aim); Frantar et al., "GPTQ", 2023 (the closed form).
    """
    return rewrite(fp32, qdq_model, feeds, out, round_rows)
