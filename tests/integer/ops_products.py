"""Small nets of products, named as in the table of operators: a dict like `nets.NETS`, and the shape of each input."""

import numpy as np
from nets import off_zero

PICTURE, ROWS, TOKENS, LINE = (1, 8, 21, 19), (20, 40), (2, 30, 40), (1, 8, 60)


def weights(n, *shape):
    return n.constant(n.rng.normal(size=shape).astype(np.float32))


def bias(n, channels):
    return n.constant(n.rng.normal(size=channels).astype(np.float32))


def gemm(n, trans=1):
    shape = (24, 40) if trans else (40, 24)
    return n.op("Gemm", n.x, weights(n, *shape), bias(n, 24), width=60, transB=trans)


def matmul(n):
    return n.op("MatMul", n.x, weights(n, 40, 24), width=60)


def conv1d(n, **attributes):
    return n.op("Conv", n.x, weights(n, 12, 8, 3), bias(n, 12), width=30, **attributes)


def transposed(n, size, **attributes):
    kernel = {"kernel_shape": [size] * 2, "strides": [2, 2]}
    return n.op("ConvTranspose", n.x, weights(n, 8, 12, size, size), bias(n, 12), width=40, **kernel, **attributes)


def depthwise(n, kernel, stride, **attributes):
    return n.conv(n.x, 8, 8, kernel, group=8, pads=[kernel // 2] * 4, strides=[stride] * 2, **attributes)


def of_activations(n, *second):
    """Attention's products; the second factor's range is symmetric, so that its Z is 128."""
    y = n.input(*second)
    n.ranges[y] = (-1.28, 1.27)
    return n.op("MatMul", n.x, y, width=n.rng.uniform(20, 60))


def concat(n, axis, *tensors):
    """A Concat at a scale that none of its inputs has, and none of these begins at 0."""
    for tensor in tensors:
        off_zero(n, tensor)
    return n.op("Concat", *tensors, width=40, axis=axis)


NETS = {
    "Conv1d": (LINE, lambda n: conv1d(n, pads=[1, 1])),
    "Conv1d, stride 2": (LINE, lambda n: conv1d(n, pads=[2, 0], strides=[2])),
    "Conv1d, dilated": (LINE, lambda n: conv1d(n, pads=[2, 0], dilations=[2])),
    "Conv depthwise 3x3 s2, dilated": (PICTURE, lambda n: depthwise(n, 3, 2, dilations=[2, 2])),
    "Conv, SAME_UPPER": (PICTURE, lambda n: n.conv(n.x, 8, 8, 4, auto_pad="SAME_UPPER")),
    "Conv, SAME_LOWER, stride 2": (PICTURE, lambda n: n.conv(n.x, 8, 8, 4, auto_pad="SAME_LOWER", strides=[2, 2])),
    "Conv depthwise 3x3 s2": (PICTURE, lambda n: depthwise(n, 3, 2)),
    "Conv depthwise 3x3 s2 no bias": (PICTURE, lambda n: depthwise(n, 3, 2, bias=False)),
    "Conv depthwise 5x5 s2": (PICTURE, lambda n: depthwise(n, 5, 2)),
    "Conv depthwise 7x7": (PICTURE, lambda n: depthwise(n, 7, 1)),
    "Conv depthwise 9x9 s2": (PICTURE, lambda n: depthwise(n, 9, 2)),
    "Conv depthwise 3x3 s3": (PICTURE, lambda n: depthwise(n, 3, 3)),
    "ConvTranspose 2x2 s2": (PICTURE, lambda n: transposed(n, 2)),
    "ConvTranspose 4x4 s2 p1": (PICTURE, lambda n: transposed(n, 4, pads=[1] * 4)),
    "ConvTranspose 3x3, output_padding": (PICTURE, lambda n: transposed(n, 3, pads=[1] * 4, output_padding=[1, 1])),
    "Gemm": (ROWS, gemm),
    "Gemm transB=0": (ROWS, lambda n: gemm(n, trans=0)),
    "MatMul weight": (TOKENS, matmul),
    "MatMul two activations": ((1, 3, 40, 32), lambda n: of_activations(n, 1, 3, 32, 20)),
    "MatMul two activations, deep": ((2, 20, 300), lambda n: of_activations(n, 2, 300, 20)),
    "MatMul weight + Add bias": (TOKENS, lambda n: n.op("Add", matmul(n), bias(n, 24), width=60)),
    "Concat of Gemm": (ROWS, lambda n: concat(n, 1, gemm(n), gemm(n))),
    "Concat of MatMul": (TOKENS, lambda n: concat(n, 2, matmul(n), matmul(n))),
    "Concat of ConvTranspose": ((1, 8, 9, 9), lambda n: concat(n, 1, transposed(n, 2), transposed(n, 2))),
    "Concat of Conv depthwise 3x3 s2": (PICTURE, lambda n: concat(n, 1, depthwise(n, 3, 2), depthwise(n, 5, 2))),
}
