"""Where the HTP's arithmetic leaves the CPU's, operator by operator."""

from __future__ import annotations

import numpy as np
import onnx

from helpers import targets
from helpers.graph import Model
from helpers.integer import Simulator
from helpers.qdq.attribution import TWIN, each_feed


def rounding_gap(qdq, feeds) -> dict[str, tuple[float, float]]:
    """How the HTP's codes differ from the CPU's when each operator reads the same codes: {tensor: (share, bias)}.

    Every operator of the QDQ graph at path `qdq` runs alone, on the codes that `integer` gave its inputs: once in
    ONNX Runtime's floats, once in the HTP's integers. share: values that differ; bias: mean of HTP − CPU, steps.
    SiLU counts as one operator, as the HTP runs it.

    >>> from onnx.parser import parse_model
    >>> text = '''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
    ...     c = Sigmoid(b)  d = QuantizeLinear(c, s, z)  y = DequantizeLinear(d, s, z) }'''
    >>> onnx.save(parse_model(text), getfixture("tmp_path") / "q.onnx")
    >>> rounding_gap(getfixture("tmp_path") / "q.onnx", [{"x": np.float32([0, 5])}])
    {'c': (0.0, 0.0)}
    """
    graph = Model.of(qdq).copy()
    model, source = Simulator(Model.of(qdq)), graph.float_names
    steps = {t for _, _, outputs in model.steps for t in outputs if t in graph.qparams}
    made: dict[str, str] = {}
    given: dict[str, str] = {}
    for node in graph.nodes:
        tensor = source.get(node.output[0], "")
        if node.op_type == "QuantizeLinear" and tensor in steps:
            made.setdefault(tensor, node.output[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in made.values():
            given[tensor], node.input[0] = f"{tensor}{TWIN}", f"{tensor}{TWIN}"
    kind = onnx.TensorProto.UINT8
    graph.proto.graph.input.extend(onnx.helper.make_tensor_value_info(n, kind, None) for n in given.values())
    cpu, count = targets.load(graph.with_outputs(made.values())), 0
    differ, bias = dict.fromkeys(made, 0.0), dict.fromkeys(made, 0.0)
    for feed in each_feed(feeds, "rounding"):
        codes = model.run(feed, every=True)
        fed = feed | {name: codes[t] for t, name in given.items()}
        for t, theirs in zip(made, cpu.run(list(made.values()), fed), strict=True):
            gap = codes[t].astype(np.int16) - theirs
            differ[t] += float(np.mean(gap != 0))
            bias[t] += float(gap.mean())
        count += 1
    return {t: (differ[t] / count, bias[t] / count) for t in made}
