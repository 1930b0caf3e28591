"""One small kernel for each operator of an A8W8 graph, on integer codes: prepared from scales, then run on codes.

A kernel's maker takes `op`: its name, attr, stored arrays, and the QParams of its inputs and outputs.
"""

from __future__ import annotations

import numpy as np

from .hexagon import mantissa, recode, requantize, sigmoid, stored_bias, table

BLOCK = 1 << 19  # values of a convolution's patch matrix at a time: 2 MiB, which stays in cache
EXACT = 1 << 10  # so many products of 8-bit codes, each at most 2¹⁴, sum exactly in float32


def conv(op):
    """Convolution: int32 accumulators Σ (q_x − Z_x)·q_w + bias, one multiplier per output channel.

    Patches times weights is one float32 matrix product per 1024 of depth: BLAS is fast, and exact below 2²⁴.
    """
    x, w, y = *op.inputs[:2], op.outputs[0]
    weight, z = op.stored[1].astype(np.int32), x.zero_point
    channels, depth, high, wide = weight.shape
    scale = np.broadcast_to(np.asarray(w.scale, np.float32), channels)
    if np.any(w.zero_point):
        raise ValueError(f"{op.name}: its weights have a zero point; quantize them symmetrically, Z = 0.")
    bias = (128 - z) * weight.sum((1, 2, 3))  # inputs are moved to −128 … 127, to keep the products small
    unit = np.float32(x.scale) * scale.max()
    if len(op.inputs) > 2:
        if not np.allclose(op.inputs[2].scale, np.float32(x.scale) * scale, rtol=1e-3, atol=0):
            raise ValueError(f"{op.name}: its bias is not at S = S_x·S_w; write the graph with `qdq.quantize_model`.")
        largest = np.float32(np.max(op.inputs[2].scale))
        bias = bias + stored_bias(op.stored[2], largest, unit, w.axis is not None)
    bias = bias.astype(np.int32)[:, None]
    multiplier = unit / np.float32(y.scale) * (scale / scale.max())  # float32, in this order
    m, e = (v.astype(np.int32)[:, None] for v in mantissa(multiplier, 12))
    group = op.attr.get("group", 1)
    (sy, sx), (dy, dx) = (op.attr.get(name, (1, 1)) for name in ("strides", "dilations"))
    up, left, down, right = op.attr.get("pads", (0, 0, 0, 0))
    matrix = weight.transpose(0, 2, 3, 1).reshape(channels, -1).astype(np.float32)  # taps outside, channels inside

    def one(picture):
        padded = np.pad(picture, ((0, 0), (up, down), (left, right)), constant_values=z).astype(np.float32) - 128
        rows = (padded.shape[1] - (high - 1) * dy - 1) // sy + 1
        columns = (padded.shape[2] - (wide - 1) * dx - 1) // sx + 1
        out = np.empty((channels, rows, columns), np.uint8)
        per = max(1, min(rows, BLOCK // (depth * high * wide * columns)))
        for g in range(group):
            source = padded[g * depth : (g + 1) * depth]
            mine = slice(g * channels // group, (g + 1) * channels // group)
            for top in range(0, rows, per):
                n = min(per, rows - top)
                taps = [
                    source[:, i : i + (n - 1) * sy + 1 : sy, j : j + (columns - 1) * sx + 1 : sx]
                    for i in range(top * sy, top * sy + high * dy, dy)
                    for j in range(0, wide * dx, dx)
                ]
                patches = np.stack(taps).reshape(-1, n * columns)
                acc = bias[mine] + sum(
                    (matrix[mine, k : k + EXACT] @ patches[k : k + EXACT]).astype(np.int32)
                    for k in range(0, len(patches), EXACT)
                )
                out[mine, top : top + n] = requantize(acc, m[mine], e[mine], y.zero_point).reshape(-1, n, columns)
        return out

    return lambda codes, *_: np.stack([one(picture) for picture in codes])


def add(op):
    """Sum of two tensors: both 14-bit multipliers on one shift, zero points and ½ in one constant of 2⁸ steps, which
    is rounded, halves down.

    k = 14 − exponent of (S_a + S_b)/S_y, m = round(S/S_y·2ᵏ), q = clamp(⌊(q_a·m_a + q_b·m_b + c)·2⁻ᵏ⌋).
    """
    (a, b), y = op.inputs, op.outputs[0]
    k = 14 - int(np.frexp((a.scale + b.scale) / y.scale)[1])
    ma, mb = (round(p.scale / y.scale * 2.0**k) for p in (a, b))
    constant = (y.zero_point << k) - a.zero_point * ma - b.zero_point * mb + (1 << k >> 1)
    constant = (constant + 127) >> 8 << 8
    left, right = np.arange(256) * ma + constant, np.arange(256) * mb
    left, right = left.astype(np.int32), right.astype(np.int32)
    return lambda p, q: np.clip((left[p] + right[q]) >> k, 0, 255).astype(np.uint8)


def mul(op):
    """Product of two tensors: (q_a − Z_a)·(q_b − Z_b) times one 15-bit multiplier, rounded half up."""
    (a, b), y = op.inputs, op.outputs[0]
    m, e = (int(v) for v in mantissa(np.float64(a.scale) * b.scale / y.scale, 15))
    k, za, zb = 15 - e, a.zero_point, b.zero_point

    def kernel(p, q):
        product = (p.astype(np.int64) - za) * (q.astype(np.int64) - zb)
        return np.clip(((product * m + (1 << k >> 1)) >> k) + y.zero_point, 0, 255).astype(np.uint8)

    return kernel


def silu(op):
    """x·σ(x) as one table of 256 codes: the float function, rounded once."""
    codes = table(lambda x: x * sigmoid(x), op.inputs[0], op.outputs[0])
    return lambda x: codes[x]


def logistic(op):
    """σ(x) as a table of 256 codes."""
    codes = table(sigmoid, op.inputs[0], op.outputs[0])
    return lambda x: codes[x]


def concat(op):
    """Inputs brought to the output's scale, then side by side."""
    y = op.outputs[0]
    tables = [
        None if x == y else table(lambda v: v, x, y) if kind == "Sigmoid" else recode(x, y, kind is None)
        for x, kind in zip(op.inputs, op.kinds, strict=True)
    ]
    return lambda *xs: np.concatenate(
        [x if t is None else t[x] for t, x in zip(tables, xs, strict=True)], op.attr["axis"]
    )


def moved(op, move):
    """An operator that only moves codes, and the table to the output's scale behind it, where that differs."""
    tables = [
        None if (p.scale, p.zero_point) == (op.inputs[0].scale, op.inputs[0].zero_point) else recode(op.inputs[0], p)
        for p in op.outputs
    ]

    def kernel(x, *_):
        outs = move(x)
        outs = [o if t is None else t[o] for o, t in zip(outs, tables, strict=True)]
        return outs[0] if len(outs) == 1 else outs

    return kernel


def maxpool(op):
    """The largest code under the window; the order of codes is the order of numbers. Padding never wins."""
    (high, wide), (sy, sx) = op.attr["kernel_shape"], op.attr.get("strides", (1, 1))
    up, left, down, right = op.attr.get("pads", (0, 0, 0, 0))
    if op.attr.get("ceil_mode") or set(op.attr.get("dilations", ())) - {1}:
        raise ValueError(f"{op.name}: MaxPool with ceil_mode or dilations is not done here; export without them.")

    def move(x):
        x = np.pad(x, ((0, 0), (0, 0), (up, down), (left, right)))
        rows, columns = x.shape[2] - high + 1, x.shape[3] - wide + 1
        x = np.maximum.reduce([x[:, :, i : i + rows] for i in range(high)])[:, :, ::sy]
        return [np.maximum.reduce([x[..., j : j + columns] for j in range(wide)])[..., ::sx]]

    return moved(op, move)


def resize(op):
    """Nearest neighbour, the floor of the place in the source."""
    mode = [
        op.attr.get(k, d)
        for k, d in (
            ("mode", b"nearest"),
            ("coordinate_transformation_mode", b"half_pixel"),
            ("nearest_mode", b"round_prefer_floor"),
        )
    ]
    if mode != [b"nearest", b"asymmetric", b"floor"] or op.attr.get("antialias"):
        raise ValueError(f"{op.name}: Resize is done here as nearest, asymmetric, floor alone; export it so.")
    scales, sizes = ([*op.stored, None, None, None, None][i] for i in (2, 3))

    def move(x):
        for axis in range(x.ndim):
            size = int(np.floor(x.shape[axis] * scales[axis])) if sizes is None else int(sizes[axis])
            ratio = scales[axis] if sizes is None else size / x.shape[axis]
            if size != x.shape[axis]:
                x = x.take(np.minimum(np.arange(size) // ratio, x.shape[axis] - 1).astype(int), axis)
        return [x]

    return moved(op, move)


def split(op):
    """One tensor cut along an axis."""
    sizes = op.stored[1] if len(op.stored) > 1 else None
    where = len(op.outputs) if sizes is None else np.cumsum(sizes)[:-1]
    return moved(op, lambda x: np.split(x, where, op.attr.get("axis", 0)))


def slice_(op):
    """Part of a tensor: starts, ends, axes, steps."""
    starts, ends, axes, steps = [*op.stored[1:], None, None][:4]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps

    def move(x):
        cut = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            cut[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
        return [x[tuple(cut)]]

    return moved(op, move)


def reshape(op):
    """The same codes under another shape."""
    return moved(op, lambda x: [x.reshape([d or x.shape[i] for i, d in enumerate(op.stored[1])])])


def transpose(op):
    """The same codes in another order of axes."""
    return moved(op, lambda x: [x.transpose(op.attr.get("perm"))])


KERNELS = {"Conv": conv, "SiLU": silu, "Sigmoid": logistic, "Add": add, "Mul": mul, "Concat": concat,
           "MaxPool": maxpool, "Resize": resize, "Split": split, "Slice": slice_, "Reshape": reshape,
           "Transpose": transpose}  # fmt: skip
DIRECT = {"Conv", "SiLU", "Add", "Mul"}  # what computes straight at the scale of a Concat behind it
