"""The NPU's arithmetic in NumPy: a QDQ graph run on integer codes alone, as Hexagon's HTP rounds them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx

from .affine import QParams, dequantize, quantize
from .graph import constants, read_model
from .qdq import float_name, fused_groups, list_qparams

BLOCK = 1 << 19  # values of a convolution's patch matrix at a time: 2 MiB, which stays in cache
EXACT = 1 << 10  # so many products of 8-bit codes, each at most 2¹⁴, sum exactly in float32


@functools.cache
def _openblas():
    """NumPy's own OpenBLAS, where its wheel carries one."""
    folder = Path(np.__file__).parent.with_name("numpy.libs")
    for path in folder.glob("*openblas*"):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            return library.scipy_openblas_get_num_threads64_, library.scipy_openblas_set_num_threads64_
    return lambda: 1, lambda n: None


@contextlib.contextmanager
def one_thread():
    """OpenBLAS on one thread: on a busy machine its threads wait for each other ten times longer than they work."""
    get, put = _openblas()
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


def mantissa(real, bits: int):
    """A positive real as whole numbers: real ≈ m·2^(e − bits), m in [2^(bits−1), 2^bits), halves up.

    >>> [int(v) for v in mantissa(0.75, 12)]
    [3072, 0]
    """
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    m = np.floor(fraction * 2**bits + 0.5).astype(np.int64)
    carried = m == 2**bits
    return np.where(carried, m >> 1, m), exponent + carried


def recode(source: QParams, target: QParams, first: bool = False) -> np.ndarray:
    """The table that takes every code of one scale to another: a 15-bit multiplier, halves up.

    q' = clamp(⌊(q − Z)·r + ½⌋ + Z'), r = S/S'. Two roundings where r < ½: once to 7 fractional bits, then to none.
    `first`, straight behind the graph's input, always rounds twice, with 6 bits in between.

    >>> recode(QParams(0.5, 0, "uint8"), QParams(1.0, 0, "uint8"))[:5]
    array([0, 1, 1, 2, 2], dtype=uint8)
    """
    m, e = mantissa(source.scale / target.scale, 15)
    shift, product = int(15 - e), (np.arange(256) - source.zero_point) * m
    bits = 6 if first else 7 if e < 0 else shift
    if bits < shift:
        product = (product + (1 << shift - bits >> 1)) >> shift - bits
    steps = (product + (1 << bits >> 1)) >> bits
    return np.clip(steps + target.zero_point, 0, 255).astype(np.uint8)


def table(function, source: QParams, target: QParams) -> np.ndarray:
    """A function of one code as 256 codes: q' = clamp(round(f(x)/S' + Z')) in float32, half to even, Z' inside.

    >>> table(sigmoid, QParams(0.5, 0, "uint8"), QParams(1 / 255, 0, "uint8"))[:3]
    array([127, 159, 186], dtype=uint8)
    """
    y = function(dequantize(np.arange(256), source).astype(np.float64)).astype(np.float32)
    return np.clip(np.rint(y / np.float32(target.scale) + np.float32(target.zero_point)), 0, 255).astype(np.uint8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def stored_bias(bias, scale, unit, per_channel: bool = True) -> np.ndarray:
    """The bias that the accumulators receive: b·S_b/(S_x·S_w) in float32, cut towards 0, which at times loses a unit.

    Beside weights of one scale per channel, S_b and S_w are the largest ones, and b·S_b is first kept in 28-bit
    fractions of its largest. Computed exactly, all this would change nothing.
    """
    real = bias.astype(np.float32) * scale
    if per_channel and real.any():
        step = np.abs(real).max() * np.float32(2.0**-28)
        real = np.rint(real * (1 / step)).astype(np.float32) * step
    return np.trunc(real / unit).astype(np.int64)


def requantize(acc, m, e, zero_point: int) -> np.ndarray:
    """Codes of int32 accumulators times M = m·2^(e − 12), as Hexagon's matrix unit rounds: `acc` is overwritten.

    First acc loses its lowest bits, so many that M·2^s is in [1/16, 1/8); what is lost counts as one half:
    t = ⌊acc·2⁻ˢ⌋, q = clamp(⌊(t + ½)·M·2ˢ + ½⌋ + Z). `m`, `e` (from `mantissa`, 12 bits) broadcast against `acc`.

    >>> requantize(np.array([100, 107, 108, 1 << 20], np.int32), *mantissa(0.0625, 12), 0)
    array([  6,   7,   7, 255], dtype=uint8)
    """
    if np.any(e > -3):
        np.clip(acc, -(1 << 16), 1 << 16, out=acc)  # saturated in any case, and the shift cannot overflow
        acc <<= np.maximum(e + 3, 0)
    acc >>= np.maximum(-3 - e, 0)
    np.clip(acc, -8192, 8191, out=acc)
    acc *= 2 * m
    acc += m + (1 << 15)
    acc >>= 16
    acc += zero_point
    return np.clip(acc, 0, 255, out=acc).astype(np.uint8)


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
    group, (sy, sx), (dy, dx) = (
        op.attr.get("group", 1),
        op.attr.get("strides", (1, 1)),
        op.attr.get("dilations", (1, 1)),
    )
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
    """Sum of two tensors: both 14-bit multipliers on one shift, zero points and ½ in one constant of 2⁸ steps.

    k = 14 − exponent of (S_a + S_b)/S_y, m = round(S/S_y·2ᵏ), q = clamp(⌊(q_a·m_a + q_b·m_b + c)·2⁻ᵏ⌋).
    """
    (a, b), y = op.inputs, op.outputs[0]
    k = 14 - int(np.frexp((a.scale + b.scale) / y.scale)[1])
    ma, mb = (round(p.scale / y.scale * 2.0**k) for p in (a, b))
    constant = (y.zero_point << k) - a.zero_point * ma - b.zero_point * mb + (1 << k >> 1)
    constant = (constant + 128) >> 8 << 8
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


class Model:
    """A QDQ graph with its weights, multipliers and tables prepared once; `run` then computes on codes.

    `model` is a path or a ModelProto, A8W8 and static. Raises ValueError for what it does not know, by name.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
    ...     c = Sigmoid(b)  d = QuantizeLinear(c, s, z)  y = DequantizeLinear(d, s, z) }''')
    >>> Model(net).run({"x": np.float32([0, 5])})
    {'y': array([1, 2], dtype=uint8)}
    """

    def __init__(self, model):
        model = model if isinstance(model, onnx.ModelProto) else read_model(model)
        graph, floats = model.graph, constants(model)
        self.proto, self.qparams = model, list_qparams(model)
        self.inputs = [i for i in graph.input if i.name not in floats]
        source, self._stored, nodes = {}, {}, {}
        for node in graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                nodes[float_name(node.output[0])] = node
                continue
            tensor = source[node.output[0]] = float_name(source.get(node.input[0], node.input[0]))
            if node.input[0] in floats:
                self._stored[tensor] = floats[node.input[0]]
            elif node.op_type == "DequantizeLinear" and tensor not in self.qparams:  # a graph input of codes
                zero = floats[node.input[2]]
                self.qparams[tensor] = QParams(floats[node.input[1]].item(), zero.item(), zero.dtype.name)
        self._outputs = {o.name: float_name(source.get(o.name, o.name)) for o in graph.output}
        self._steps, made = [], {}
        for group in fused_groups(model):
            node = nodes[group.output]
            name = f"{node.op_type} node '{node.name or group.output}'"
            if group.op not in KERNELS:
                known = ", ".join(KERNELS)
                raise ValueError(f"{name}: no integer kernel; use target 'cpu', or replace it by one of {known}.")
            outputs = [float_name(o) for o in node.output]
            inputs = list(group.inputs) if group.op == "SiLU" else [source.get(t, t) for t in node.input]
            taken = [t for t in inputs if t in self.qparams]
            for tensor in (*taken, *outputs):
                dtype = self.qparams[tensor].dtype if tensor in self.qparams else "float32"
                if dtype != "uint8" and tensor not in self._stored:
                    raise ValueError(f"{name}: tensor '{tensor}' is {dtype}; quantize every activation to uint8.")
            if group.op == "Concat":
                taken = [self._aside(t, outputs[0], made) for t in taken]
            op = SimpleNamespace(
                name=name,
                attr={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
                inputs=[self.qparams[t] for t in taken],
                outputs=[self.qparams[t] for t in outputs],
                stored=[self._stored.get(t, floats.get(t)) for t in inputs],
                kinds=[made[t][0] if t in made else None for t in taken],
            )
            self._steps.append((KERNELS[group.op](op), taken, outputs))
            made |= dict.fromkeys(outputs, (group.op, op, taken))

    def _aside(self, tensor: str, target: str, made) -> str:
        """The tensor that a Concat reads: `tensor`, or what its producer makes at the Concat's scale."""
        kind, op, taken = made.get(tensor, (None, None, ()))
        if kind not in DIRECT or self.qparams[tensor] == self.qparams[target]:
            return tensor
        aside = f"{tensor} at the scale of {target}"
        self.qparams[aside] = self.qparams[target]
        op = SimpleNamespace(**vars(op) | {"outputs": [self.qparams[target]]})
        self._steps.append((KERNELS[kind](op), taken, [aside]))
        return aside

    def run(self, feed, every: bool = False) -> dict[str, np.ndarray]:
        """Codes of the graph's outputs, or of `every` activation by its name in the float graph.

        `feed` is {input name: array}: real numbers are quantized, integers are codes already.
        """
        values = dict(self._stored)
        if unknown := {i.name for i in self.inputs} ^ set(feed):
            raise ValueError(f"input '{min(unknown)}' is not both in the graph and in the feed; give all, and no more.")
        for i in self.inputs:
            x, shape = np.asarray(feed[i.name]), tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
            if x.shape != shape:
                raise ValueError(f"input '{i.name}' has shape {x.shape}; the graph takes {shape}.")
            if x.dtype.kind in "iu" and (x.min() < 0 or x.max() > 255):
                raise ValueError(f"input '{i.name}' holds codes outside of 0 … 255; give uint8 codes or real numbers.")
            is_code = x.dtype.kind in "iu"
            values[i.name] = x.astype(np.uint8) if is_code else quantize(x, self.qparams[i.name], name=i.name)
        last = {t: k for k, (_, taken, _) in enumerate(self._steps) for t in taken}
        with one_thread():
            for k, (kernel, taken, outputs) in enumerate(self._steps):
                out = kernel(*(values[t] for t in taken))
                values.update(zip(outputs, out if isinstance(out, list) else [out], strict=True))
                if not every:  # what nothing reads any more makes room
                    for t in {t for t in taken if last[t] == k} - set(self._outputs.values()):
                        del values[t]
        if every:
            return {t: v for t, v in values.items() if t not in self._stored}
        return {name: values[t] for name, t in self._outputs.items()}


def run(qdq_model, feeds, every: bool = False) -> dict[str, np.ndarray]:
    """Codes of a QDQ graph's outputs for one feed {input name: array}; `Model` prepares once for many.

    Raises ValueError as `Model` does. Source: measured on onnxruntime-qnn 2.7.0's HTP, v73; chapter 04 derives it.
    """
    return Model(qdq_model).run(feeds, every)


class Session:
    """`Model` with the face of an ONNX Runtime session: real numbers out where the graph says so."""

    def __init__(self, model):
        self.model = Model(model)

    def _values(self, infos):
        name = onnx.helper.tensor_dtype_to_string
        return [
            SimpleNamespace(
                name=v.name,
                shape=[d.dim_value for d in v.type.tensor_type.shape.dim],
                type=f"tensor({name(v.type.tensor_type.elem_type).removeprefix('TensorProto.').lower()})",
            )
            for v in infos
        ]

    def get_inputs(self):
        return self._values(self.model.inputs)

    def get_outputs(self):
        return self._values(self.model.proto.graph.output)

    def get_modelmeta(self):
        return SimpleNamespace(custom_metadata_map={p.key: p.value for p in self.model.proto.metadata_props})

    def run(self, output_names, feed):
        codes, kinds = self.model.run(feed), {o.name: o.type for o in self.get_outputs()}
        qparams = {name: self.model.qparams[t] for name, t in self.model._outputs.items()}
        return [
            dequantize(codes[name], qparams[name]) if kinds[name] == "tensor(float)" else codes[name]
            for name in (output_names or kinds)
        ]
