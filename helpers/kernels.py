"""One small kernel for each operator of an A8W8 graph, on integer codes: prepared from scales, then run on codes.

A kernel's maker takes `op`: its name, attr, stored arrays, and the QParams of its inputs and outputs.
"""

from __future__ import annotations

import numpy as np

from .hexagon import mantissa, recode, requantize, sigmoid, stored_bias, table

BLOCK = 1 << 19  # values of a convolution's patch matrix at a time: 2 MiB, which stays in cache
EXACT = 1 << 10  # so many products of 8-bit codes, each at most 2¹⁴, sum exactly in float32


def refuse(op, what: str):
    """ValueError: this node, what is not known of it on the HTP, and the ways out."""
    raise ValueError(f"{op.name}: {what}; use target 'cpu' or 'htp', or change that node.")


def stored(op, index: int, what: str):
    """A constant input of the node; raises ValueError where it is computed in the graph."""
    if op.stored[index] is None:
        refuse(op, f"its {what} are not constants of the graph, which is not known here")
    return op.stored[index]


def window(op, kernel):
    """Strides and pads of a window in two dimensions; raises ValueError for other ranks and for SAME_*."""
    if len(kernel) != 2:
        refuse(op, f"a window of {len(kernel)} dimension(s) is not known here, only one of 2")
    auto = op.attr.get("auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID"):
        refuse(op, f"auto_pad {auto.decode()} is not done here, write its numbers as pads")
    pads = op.attr.get("pads", (0, 0, 0, 0)) if auto == b"NOTSET" else (0, 0, 0, 0)
    return op.attr.get("strides", (1, 1)), pads


def conv(op):
    """Convolution: int32 accumulators Σ (q_x − Z_x)·q_w + bias, one multiplier per output channel.

    Patches times weights is one float32 matrix product per 1024 of depth: BLAS is fast, and exact below 2²⁴.
    """
    if len(op.inputs) != len(op.stored):
        refuse(op, "its weights or its bias are not quantized")
    x, w, y = *op.inputs[:2], op.outputs[0]
    weight, z = stored(op, 1, "weights").astype(np.int32), x.zero_point
    (sy, sx), (up, left, down, right) = window(op, weight.shape[2:])
    channels, depth, high, wide = weight.shape
    group = op.attr.get("group", 1)
    if depth == 1 and group == channels > 1 and min(sy, sx) > 1 and max(high, wide) > 2:
        refuse(op, f"a depthwise Conv {high}×{wide} with strides {sy}, {sx} rounds in a way not known here")
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
    dy, dx = op.attr.get("dilations", (1, 1))
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


def two(op):
    """QParams of two inputs; a constant of one element is another operator on the HTP: a table, not known here."""
    if len(op.inputs) != 2:
        refuse(op, "one of its inputs is not quantized")
    if any(shape is not None and np.prod(shape) == 1 for shape in op.shapes):
        refuse(op, "a constant of one element is not known here, fold it into the operators around it")
    return op.inputs


def add(op):
    """Sum of two tensors: both 14-bit multipliers on one shift, zero points and ½ in one constant of 2⁸ steps, rounded
    halves down.

    k = 14 − exponent of (S_a + S_b)/S_y, at most 15; m = round(S/S_y·2ᵏ), q = clamp(⌊(q_a·m_a + q_b·m_b + c)·2⁻ᵏ⌋).
    """
    (a, b), y = two(op), op.outputs[0]
    k = min(15, 14 - int(np.frexp((a.scale + b.scale) / y.scale)[1]))
    ma, mb = (int(np.rint(np.float32(p.scale) / np.float32(y.scale) * np.float32(2.0**k))) for p in (a, b))
    constant = (y.zero_point << k) - a.zero_point * ma - b.zero_point * mb + (1 << k >> 1)
    constant = (constant + 127) // 256 * 256
    left, right = np.arange(256) * ma + constant, np.arange(256) * mb
    left, right = left.astype(np.int32), right.astype(np.int32)
    return lambda p, q: np.clip((left[p] + right[q]) >> k, 0, 255).astype(np.uint8)


def mul(op):
    """Product of two tensors, in 16 bits: T = (q_a − Z_a)·(q_b − Z_b) + n, q = clamp(⌊(⌊T·m·2⁻¹⁵⌋ + c)·2⁻ˢ⌋).

    n = −256·round((255 − 2Z_a)(255 − 2Z_b)/512) centres T; r = S_a·S_b/S_y, m = round(r·2^(15+s)) and
    c = round((Z_y + ½)·2ˢ − n·m·2⁻¹⁵) undo it. s ≤ 7 is the largest with m < 2¹⁵ and c < 2¹⁵.
    """
    (a, b), y = two(op), op.outputs[0]
    if any(shape is not None for shape in op.shapes):
        refuse(op, "a constant factor rounds in a way that is not known here to the last code")
    ratio, za, zb = a.scale * float(b.scale) / y.scale, a.zero_point, b.zero_point
    n = -256 * round((255 - 2 * za) * (255 - 2 * zb) / 512)
    for s in range(min(7, -int(np.frexp(ratio)[1])), 0, -1):
        m = int(np.floor(ratio * 2.0 ** (15 + s) + 0.5))
        c = int(np.floor((y.zero_point + 0.5) * 2.0**s - n * m * 2.0**-15 + 0.5))
        if c < 1 << 15:
            break
    else:
        refuse(op, f"S_a·S_b/S_y = {ratio:.3g} is so large that its rounding is not known here, widen its output")

    def kernel(p, q):
        product = (p.astype(np.int32) - za) * (q.astype(np.int32) - zb) + n
        return np.clip(((product * m >> 15) + c) >> s, 0, 255).astype(np.uint8)

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
    """Inputs brought to the output's scale, then side by side. What can compute straight at that scale does so."""
    y, tables = op.outputs[0], []
    for x, kind, edge in zip(op.inputs, op.kinds, op.edge, strict=True):
        if x != y and (edge or kind is None):
            refuse(op, "an input that a constant or a graph input gives unchanged, at another scale, is not known here")
        tables.append(None if x == y else table(lambda v: v, x, y) if kind == "Sigmoid" else recode(x, y))
    return lambda *xs: np.concatenate(
        [x if t is None else t[x] for t, x in zip(tables, xs, strict=True)], op.attr["axis"]
    )


def moved(op, move):
    """An operator that only moves codes, and the table to the output's scale behind it, where that differs."""
    x, tables = op.inputs[0], []
    for p in op.outputs:
        same = (p.scale, p.zero_point) == (x.scale, x.zero_point)
        if not same and (op.kind not in ("Split", "Slice") or op.kinds[0] not in COMPUTES):
            refuse(
                op,
                "its output has another scale than its input, known only of Split and Slice behind one that computes",
            )
        tables.append(None if same else recode(x, p))

    def kernel(x, *_):
        outs = move(x)
        outs = [o if t is None else t[o] for o, t in zip(outs, tables, strict=True)]
        return outs[0] if len(outs) == 1 else outs

    return kernel


def maxpool(op):
    """The largest code under the window; the order of codes is the order of numbers. Padding never wins."""
    (sy, sx), (up, left, down, right) = window(op, op.attr["kernel_shape"])
    high, wide = op.attr["kernel_shape"]
    if op.attr.get("ceil_mode") or set(op.attr.get("dilations", ())) - {1}:
        refuse(op, "MaxPool with ceil_mode or dilations is not done here, export without them")

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
    known = {"mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "extrapolation_value"}
    if mode != [b"nearest", b"asymmetric", b"floor"] or any(op.attr[k] for k in set(op.attr) - known):
        refuse(op, "Resize is done here as nearest, asymmetric, floor alone, export it so")
    if all(v is None for v in op.stored[2:]):
        stored(op, 1, "scales or sizes")
    scales, sizes = ([*op.stored, None, None, None, None][i] for i in (2, 3))

    def move(x):
        for axis in range(x.ndim):
            size = int(np.floor(x.shape[axis] * scales[axis])) if sizes is None else int(sizes[axis])
            ratio = size / x.shape[axis]  # also for scales: the HTP knows the two sizes alone
            if size != x.shape[axis]:
                x = x.take(np.minimum(np.arange(size) // ratio, x.shape[axis] - 1).astype(int), axis)
        return [x]

    return moved(op, move)


def split(op):
    """One tensor cut along an axis: at given sizes, or in equal parts of which the last may be shorter."""
    sizes, axis = stored(op, 1, "sizes") if len(op.stored) > 1 else None, op.attr.get("axis", 0)

    def move(x):
        step = -(-x.shape[axis] // len(op.outputs))
        return np.split(x, range(step, x.shape[axis], step) if sizes is None else np.cumsum(sizes)[:-1], axis)

    return moved(op, move)


def slice_(op):
    """Part of a tensor: starts, ends, axes, steps."""
    starts, ends, axes, steps = [*(stored(op, i, "limits") for i in range(1, len(op.stored))), None, None][:4]
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
    shape = stored(op, 1, "sizes")
    if op.attr.get("allowzero"):
        refuse(op, "allowzero is not done here, export without it")
    return moved(op, lambda x: [x.reshape([d or x.shape[i] for i, d in enumerate(shape)])])


def transpose(op):
    """The same codes in another order of axes."""
    return moved(op, lambda x: [x.transpose(op.attr.get("perm"))])


KERNELS = {"Conv": conv, "SiLU": silu, "Sigmoid": logistic, "Add": add, "Mul": mul, "Concat": concat,
           "MaxPool": maxpool, "Resize": resize, "Split": split, "Slice": slice_, "Reshape": reshape,
           "Transpose": transpose}  # fmt: skip
DIRECT = {"Conv", "SiLU", "Add", "Mul", "Concat"}  # what computes straight at the scale of a Concat behind it
PASS = {"Reshape", "Transpose"}  # what lets its producer do so
MOVES = {*PASS, "MaxPool", "Resize", "Split", "Slice"}
COMPUTES = {*DIRECT, "Sigmoid"}
