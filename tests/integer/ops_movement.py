"""Nets of one operator that moves, pools, reduces, resizes or joins two tensors, named as in the operators' table."""

import numpy as np
from nets import off_zero


def behind_conv(n, kind, *more, own=False, off=False, depth=8, **attributes):
    """The operator behind a convolution, at its scale or at its `own`; `more` are arrays that the graph stores.

    `off`: the convolution's Z is not 0, where no kernel writes at another scale.
    """
    x = n.conv(n.x, 8, depth)
    if off:
        off_zero(n, x)
    low, high = n.ranges[x]
    y = n.op(kind, x, *(n.constant(m) if isinstance(m, np.ndarray) else m for m in more), **attributes)
    if own:
        f, g = n.rng.uniform(0.5, 1.1, 2)
        n.ranges[y] = (low * f, high * g)
    return y


def two(n, kind, shape=(1, 8, 13, 11)):
    return n.op(kind, n.x, n.input(*shape), width=n.rng.uniform(6, 16))


def two_convs(n, kind):
    a, b = n.conv(n.x, 8, 8), n.conv(n.x, 8, 8, 3, pads=[1] * 4)
    return n.op(kind, a, b, width=n.rng.uniform(0.5, 1) * (n.ranges[b][1] - n.ranges[b][0]))


def whole(*values):
    return np.int64(values)


def resized(n, scales, **how):
    return behind_conv(n, "Resize", "", np.float32([1, 1, *scales]), **how)


NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
HALVES = {"kernel_shape": [2, 2], "strides": [2, 2]}
THREE = {"kernel_shape": [3, 3], "strides": [2, 2]}

NETS = {
    "GlobalAveragePool": lambda n: behind_conv(n, "GlobalAveragePool", own=True, depth=64),
    "GlobalMaxPool": lambda n: behind_conv(n, "GlobalMaxPool", own=True, depth=64),
    "AveragePool 2x2 s2": lambda n: behind_conv(n, "AveragePool", **HALVES),
    "AveragePool 3x3 s2 pad incl": lambda n: behind_conv(n, "AveragePool", **THREE, pads=[1] * 4, count_include_pad=1),
    "AveragePool whole": lambda n: behind_conv(n, "AveragePool", kernel_shape=[13, 11], depth=64),
    "MaxPool 2x2 s2": lambda n: behind_conv(n, "MaxPool", **HALVES),
    "MaxPool 3x3 s2 ceil": lambda n: behind_conv(n, "MaxPool", **THREE, ceil_mode=1),
    "MaxPool SAME": lambda n: behind_conv(n, "MaxPool", **HALVES, auto_pad="SAME_LOWER"),
    "ReduceMean HW": lambda n: behind_conv(n, "ReduceMean", own=True, depth=64, axes=[2, 3]),
    "ReduceMax": lambda n: behind_conv(n, "ReduceMax", own=True, axes=[3], keepdims=1),
    "ReduceMin": lambda n: behind_conv(n, "ReduceMin", own=True, axes=[2], keepdims=0),
    "Pad constant": lambda n: behind_conv(n, "Pad", whole(0, 0, 1, 2, 0, 0, 3, 0)),
    "Pad reflect": lambda n: behind_conv(n, "Pad", whole(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    "Pad edge": lambda n: behind_conv(n, "Pad", whole(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    "Resize nearest asym floor": lambda n: resized(n, (2, 2), **NEAREST),
    "DepthToSpace DCR": lambda n: behind_conv(n, "DepthToSpace", blocksize=2, mode="DCR"),
    "DepthToSpace CRD": lambda n: behind_conv(n, "DepthToSpace", blocksize=2, mode="CRD"),
    "SpaceToDepth": lambda n: n.op(
        "SpaceToDepth", behind_conv(n, "Slice", whole(0, 0), whole(12, 10), whole(2, 3)), blocksize=2
    ),
    "Sub two": lambda n: two(n, "Sub"),
    "Max two": lambda n: two(n, "Max"),
    "Min two": lambda n: two(n, "Min"),
    "Sub two, behind Conv": lambda n: two_convs(n, "Sub"),
    "Max two, behind Conv": lambda n: two_convs(n, "Max"),
    "Min two, behind Conv": lambda n: two_convs(n, "Min"),
    "Mul broadcast act C,1,1 (SE)": lambda n: two(n, "Mul", (1, 8, 1, 1)),
    "Add broadcast act C,1,1": lambda n: two(n, "Add", (1, 8, 1, 1)),
    "Sub broadcast act C,1,1": lambda n: two(n, "Sub", (1, 8, 1, 1)),
    "Gather const idx": lambda n: behind_conv(n, "Gather", whole(3, 1, 0, -1), axis=1),
    "Squeeze": lambda n: behind_conv(n, "Squeeze", whole(0)),
    "Unsqueeze": lambda n: behind_conv(n, "Unsqueeze", whole(1)),
    "Flatten": lambda n: behind_conv(n, "Flatten", axis=2),
    "Expand": lambda n: behind_conv(n, "Expand", whole(2, 8, 13, 11)),
    "Tile": lambda n: behind_conv(n, "Tile", whole(1, 2, 1, 1)),
}
