"""Wrong answers to chapter 05, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np


def q_node_dq(op, inputs, outputs, stored):
    nodes = [("Q", (t,), (t + "_q",)) for t in inputs if t not in stored]
    nodes.append((op, tuple(t + "_q" for t in inputs), tuple(t + "_q" for t in outputs)))
    return nodes + [("DQ", (t + "_q",), (t + "_dq",)) for t in outputs]


def stored_too(op, inputs, outputs, stored):
    nodes = []
    for t in inputs:
        nodes += [("Q", (t,), (t + "_q",)), ("DQ", (t + "_q",), (t + "_dq",))]
    nodes.append((op, tuple(t + "_dq" for t in inputs), outputs))
    for t in outputs:
        nodes += [("Q", (t,), (t + "_q",)), ("DQ", (t + "_q",), (t + "_dq",))]
    return nodes


def inputs_only(op, inputs, outputs, stored):
    nodes = []
    for t in inputs:
        nodes += [] if t in stored else [("Q", (t,), (t + "_q",))]
        nodes.append(("DQ", (t + "_q",), (t + "_dq",)))
    return [*nodes, (op, tuple(t + "_dq" for t in inputs), outputs)]


def weights_unit(x_scale, w_scales, bias):
    return w_scales, np.round(bias / w_scales).astype(np.int32)


def int8_bias(x_scale, w_scales, bias):
    scale = w_scales * x_scale
    return scale, np.clip(np.round(bias / scale), -128, 127).astype(np.int8)


def cast_bias(x_scale, w_scales, bias):
    return w_scales * x_scale, (bias / (w_scales * x_scale)).astype(np.int32)


def ten_log(ranges, limit):
    low, high = min(a for a, _ in ranges.values()), max(b for _, b in ranges.values())
    return [t for t, (a, b) in ranges.items() if b > a and 10 * np.log10((high - low) / (b - a)) > limit]


def tops_only(ranges, limit):
    top = max(b for _, b in ranges.values())
    return [t for t, (_, b) in ranges.items() if b > 0 and 20 * np.log10(top / b) > limit]


def empty_too(ranges, limit):
    low, high = min(a for a, _ in ranges.values()), max(b for _, b in ranges.values())
    return [t for t, (a, b) in ranges.items() if 20 * np.log10((high - low) / max(b - a, 1e-12)) > limit]


WRONG = [
    ("qdq.insert", q_node_dq, "That is Q → node → DQ"),
    ("qdq.insert", stored_too, "DQ alone"),
    ("qdq.insert", inputs_only, "no Q and DQ"),
    ("qdq.bias_scale", weights_unit, "weights' scale"),
    ("qdq.bias_scale", int8_bias, "8 bits"),
    ("qdq.bias_scale", cast_bias, "cut off the fraction"),
    ("qdq.shared_scales", ten_log, "10·log₁₀"),
    ("qdq.shared_scales", tops_only, "upper ends only"),
    ("qdq.shared_scales", empty_too, "0 … 0"),
]
