"""Which layer is guilty: SQNR tensor by tensor, and where the arithmetic of the HTP leaves the CPU's."""

from __future__ import annotations

import operator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from tqdm.auto import tqdm

from helpers import targets
from helpers.affine import dequantize, quantize
from helpers.graph import constants, float_name, list_qparams, read_model, sources
from helpers.integer import Simulator, one_thread

TWIN = "__quantized"


def _session_of(model: onnx.ModelProto, outputs) -> ort.InferenceSession:
    """A CPU session of the graph as written, with `outputs` alone as its outputs."""
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def activation(model, feed: dict, tensor: str) -> np.ndarray:
    """One activation of a graph, by name, as the CPU computes it from `feed`; ValueError where there is no such tensor.

    >>> import tempfile; from helpers import assets, tasks
    >>> feed = next(iter(tasks.Feeds(assets.images()[:1], assets.model())))
    >>> activation(assets.model(), feed, "/model.0/conv/Conv_output_0").shape
    (1, 8, 160, 160)
    """
    graph = read_model(model)
    if tensor not in {name for node in graph.graph.node for name in node.output}:
        raise ValueError(f"{model}: has no tensor '{tensor}'; `qdq.list_qparams` and `calibrate.observe` give names.")
    return _session_of(graph, [tensor]).run(None, feed)[0]


def _weights(qdq: onnx.ModelProto) -> dict[str, np.ndarray]:
    """{weight or bias of the float graph: the numbers that its codes stand for}."""
    stored, params = constants(qdq), list_qparams(qdq)
    names = {float_name(n.input[0]): n.input[0] for n in qdq.graph.node if n.op_type == "DequantizeLinear"}
    return {t: dequantize(stored[code], params[t], name=t) for t, code in names.items() if code in stored}


def _pairs(qdq: onnx.ModelProto, produced) -> dict[str, tuple[onnx.NodeProto, onnx.NodeProto]]:
    """{activation: its first QuantizeLinear and DequantizeLinear}, in graph order, graph inputs left out."""
    source, found, first = sources(qdq), {}, {}
    for node in qdq.graph.node:
        tensor = source.get(node.output[0])
        if node.op_type == "QuantizeLinear" and tensor in produced:
            first.setdefault(tensor, node)
        elif node.op_type == "DequantizeLinear" and tensor in first and first[tensor].output[0] == node.input[0]:
            found.setdefault(tensor, (first[tensor], node))
    return found


def _replace(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> None:
    for t in model.graph.initializer:
        if t.name in values:
            t.CopyFrom(numpy_helper.from_array(values[t.name].reshape(tuple(t.dims)), t.name))


def _isolated(fp32: onnx.ModelProto, qdq: onnx.ModelProto, pairs, only) -> dict[str, str]:
    """Add to `fp32` a twin of each operator that reads the float inputs; {tensor: name of the twin's value}."""
    graph, weights, outputs = fp32.graph, _weights(qdq), {}
    made = {name: node for node in graph.node for name in node.output}
    if only != "activations":
        graph.initializer.extend(numpy_helper.from_array(w, t + TWIN) for t, w in weights.items())
    constant = {t.name: t for t in qdq.graph.initializer}
    needed = {name for q, dq in pairs.values() for node in (q, dq) for name in node.input[1:]}
    if only != "weights":
        graph.initializer.extend(constant[name] for name in sorted(needed))
        opsets = {o.domain for o in fp32.opset_import}
        fp32.opset_import.extend(o for o in qdq.opset_import if o.domain not in opsets)
    for tensor, (q, dq) in pairs.items():
        value = tensor
        if only != "activations" and any(t in weights for t in made[tensor].input):
            node = onnx.NodeProto()
            node.CopyFrom(made[tensor])
            node.name += TWIN
            node.input[:] = [t + TWIN if t in weights else t for t in node.input]
            node.output[:] = [t + TWIN for t in node.output]
            graph.node.append(node)
            value = tensor + TWIN
        if only != "weights":
            for node, end in ((q, "_q"), (dq, "_dq")):
                new = onnx.NodeProto()
                new.CopyFrom(node)
                new.input[0], new.output[0] = value, tensor + TWIN + end
                graph.node.append(new)
                value = new.output[0]
        outputs[tensor] = value
    return outputs


def _on_cpu(fp32, qdq, pairs, isolated, only):
    """A function of a feed: {tensor: (float, quantized)}, both on the CPU as the graphs are written."""
    if isolated:
        other, names = fp32, _isolated(fp32, qdq, pairs, only)
    elif only == "weights":
        other = onnx.ModelProto()
        other.CopyFrom(fp32)
        _replace(other, _weights(qdq))
        names = {t: t for t in pairs}
    else:
        other, names = qdq, {t: dq.output[0] for t, (_, dq) in pairs.items()}
        if only == "activations":
            stored, floats = constants(qdq), constants(fp32)
            for node in [n for n in qdq.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored]:
                tensor = numpy_helper.from_array(floats[float_name(node.input[0])], node.output[0])
                qdq.graph.initializer.append(tensor)
                qdq.graph.node.remove(node)
    wanted = list(pairs)
    if isolated:
        one = _session_of(fp32, dict.fromkeys([*wanted, *names.values()]))

        def both(feed):
            got = dict(zip((o.name for o in one.get_outputs()), one.run(None, feed), strict=True))
            return {t: (got[t], got[names[t]]) for t in wanted}

        return both
    left, right = _session_of(fp32, wanted), _session_of(other, names.values())
    return lambda feed: {
        t: pair for t, *pair in zip(wanted, left.run(wanted, feed), right.run(list(names.values()), feed), strict=True)
    }


def _on_integer(fp32, qdq, pairs, isolated):
    """As `_on_cpu`, with the HTP's arithmetic on the quantized side."""
    model = Simulator(qdq)
    wanted = [t for t in pairs if any(t in outputs for _, _, outputs in model._steps)]
    left = _session_of(fp32, wanted)

    def both(feed):
        floats = dict(zip(wanted, left.run(wanted, feed), strict=True))
        codes = each_alone(model, floats | feed) if isolated else model.run(feed, every=True)
        return {t: (floats[t], dequantize(codes[t], model.qparams[t])) for t in wanted}

    return both


def each_alone(model: Simulator, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Codes of every operator of an `integer.Simulator`, each on `values` of its inputs (real numbers or codes)."""
    given = model.codes(values)  # the graph inputs, as the HTP makes them
    for t, x in values.items():
        if t not in given:
            given[t] = x if x.dtype == np.uint8 else quantize(x, model.qparams[t], name=t)
    made = {}
    with one_thread():
        for kernel, taken, outputs in model._steps:
            known = [given.get(t, model._stored.get(t, made.get(t))) for t in taken]
            out = kernel(*known)
            made.update(zip(outputs, out if isinstance(out, list) else [out], strict=True))
    return made


def _on_htp(fp32, path):
    right = targets.load(path, "htp")
    wanted = [o.name for o in right.get_outputs()]
    left = _session_of(fp32, wanted)
    return lambda feed: {
        t: pair for t, *pair in zip(wanted, left.run(wanted, feed), right.run(wanted, feed), strict=True)
    }


def _each(feeds, what: str):
    """The feeds behind a progress bar; raises ValueError where there is none."""
    feed = None
    bar = tqdm(feeds, unit="feed", total=operator.length_hint(feeds, 0) or None, leave=False)
    bar.set_description(what)
    for feed in bar:
        yield feed
    if feed is None:
        raise ValueError("there are no feeds: give at least one {input name: array}; a used-up generator has none.")


def layer_sqnr(
    fp32, qdq, feeds, target: str = "cpu", *, isolated: bool = False, only: str | None = None
) -> dict[str, float]:
    """SQNR of every quantized activation, {tensor of the float graph: dB} in graph order, over all feeds together.

    10·log₁₀(Σ a² / Σ (a − b)²), a from `fp32`, b from `qdq` (paths). Cumulative: b is the whole quantized graph's.
    `isolated`: each operator reads the float inputs, so that b holds what its own weights and its own output's
    codes cost. `only` "weights" or "activations": the other kind stays float. inf where nothing differs.

    target "cpu": ONNX Runtime, unoptimised. "integer": the HTP's arithmetic (a Sigmoid inside of SiLU has no
    tensor there; isolated kernels read codes, so their inputs are quantized too). "htp": the graph's outputs,
    since every tensor made an output is no longer fused, and would show another arithmetic. Holds one feed at a time.

    Raises ValueError for an unknown target or kind, for kinds that a target cannot tell apart, for no feeds.

    >>> from onnx.parser import parse_model
    >>> folder, head = getfixture("tmp_path"), '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)'
    >>> onnx.save(parse_model(head + "{ y = Relu(x) }"), folder / "a.onnx")
    >>> onnx.save(parse_model(head + '''<float s = {0.5}, uint8 z = {0}> { f = Relu(x)
    ...     q = QuantizeLinear(f, s, z)  y = DequantizeLinear(q, s, z) }'''), folder / "b.onnx")
    >>> onnx.save(parse_model((head + "{ y = Relu(x) }").replace("y", "f")), folder / "a.onnx")
    >>> layer_sqnr(folder / "a.onnx", folder / "b.onnx", [{"x": np.float32([1.1, -2])}])["f"].__round__(1)
    20.8
    """
    if target not in ("cpu", "integer", "htp"):
        raise ValueError(f"target '{target}' is unknown; choose cpu, integer or htp.")
    if only not in (None, "weights", "activations"):
        raise ValueError(f"only '{only}' is unknown; choose weights, activations, or None for both.")
    if target != "cpu" and only:
        raise ValueError(f"target '{target}' computes on codes alone, so it cannot leave a kind float; use 'cpu'.")
    if target == "htp" and isolated:
        raise ValueError("target 'htp' shows the graph's outputs only; for isolated operators use 'integer' or 'cpu'.")
    real, quantized = read_model(fp32), read_model(qdq)
    pairs = _pairs(quantized, {o for n in real.graph.node for o in n.output})
    if target == "cpu":
        both = _on_cpu(real, quantized, pairs, isolated, only)
    else:
        both = _on_integer(real, quantized, pairs, isolated) if target == "integer" else _on_htp(real, Path(qdq))
    signal, noise = {}, {}
    for feed in _each(feeds, f"SQNR on {target}"):
        for tensor, (a, b) in both(feed).items():
            a, gap = a.ravel(), (a - b).ravel()
            signal[tensor] = signal.get(tensor, 0.0) + float(a @ a)
            noise[tensor] = noise.get(tensor, 0.0) + float(gap @ gap)
    with np.errstate(divide="ignore"):
        return {t: float(10 * np.log10(np.divide(signal[t], noise[t]))) if noise[t] else np.inf for t in signal}


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
    graph = read_model(qdq)
    model, source = Simulator(graph), sources(graph)
    steps = {t for _, _, outputs in model._steps for t in outputs if t in list_qparams(graph)}
    made, given = {}, {}
    for node in graph.graph.node:
        tensor = source.get(node.output[0])
        if node.op_type == "QuantizeLinear" and tensor in steps:
            made.setdefault(tensor, node.output[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in made.values():
            given[tensor], node.input[0] = f"{tensor}{TWIN}", f"{tensor}{TWIN}"
    kind = onnx.TensorProto.UINT8
    graph.graph.input.extend(onnx.helper.make_tensor_value_info(n, kind, None) for n in given.values())
    cpu, differ, bias, count = _session_of(graph, made.values()), {}, {}, 0
    for feed in _each(feeds, "rounding"):
        codes = model.run(feed, every=True)
        fed = feed | {name: codes[t] for t, name in given.items()}
        for t, theirs in zip(made, cpu.run(list(made.values()), fed), strict=True):
            gap = codes[t].astype(np.int16) - theirs
            differ[t] = differ.get(t, 0.0) + float(np.mean(gap != 0))
            bias[t] = bias.get(t, 0.0) + float(gap.mean())
        count += 1
    return {t: (differ[t] / count, bias[t] / count) for t in made}
