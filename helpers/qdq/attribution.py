"""Which layer is guilty: SQNR tensor by tensor."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from onnx import NodeProto, numpy_helper
from tqdm.auto import tqdm

from helpers import targets
from helpers.affine import dequantize, quantize
from helpers.graph import Model, float_name
from helpers.integer import Simulator, one_thread
from helpers.qdq.parts import Parts, in_groups, tensor_bytes

TWIN = "__quantized"
_HELD = 1 << 28  # bytes of activations, float and quantized, that are looked at together
Pair = tuple[str, np.ndarray, np.ndarray]  # a tensor's name, what the float graph makes of it, what the other one does
Both = Callable[[dict], Iterable[Pair]]  # of a feed


def activation(model, feed: dict, tensor: str) -> np.ndarray:
    """One activation of a graph, by name, as the CPU computes it from `feed`; ValueError where there is no such tensor.

    >>> from helpers import assets, tasks
    >>> feed = next(iter(tasks.Feeds(assets.images()[:1], assets.model())))
    >>> activation(assets.model(), feed, "/model.0/conv/Conv_output_0").shape
    (1, 8, 160, 160)
    """
    graph = Model.of(model)
    if tensor not in graph.producers:
        raise ValueError(f"{model}: has no tensor '{tensor}'; `qdq.list_qparams` and `calibrate.observe` give names.")
    return targets.load(graph.with_outputs([tensor])).run(None, feed)[0]


def _weights(qdq: Model) -> dict[str, np.ndarray]:
    """{weight or bias of the float graph: the numbers that its codes stand for}."""
    names = {float_name(n.input[0]): n.input[0] for n in qdq.nodes if n.op_type == "DequantizeLinear"}
    stored = {t: qdq.constants[codes] for t, codes in names.items() if codes in qdq.constants}
    return {t: dequantize(codes, qdq.qparams[t], name=t) for t, codes in stored.items()}


def _pairs(qdq: Model, produced: Mapping) -> dict[str, tuple[NodeProto, NodeProto]]:
    """{activation: its first QuantizeLinear and DequantizeLinear}, in graph order, graph inputs left out."""
    source, first = qdq.float_names, dict[str, NodeProto]()
    found: dict[str, tuple[NodeProto, NodeProto]] = {}
    for node in qdq.nodes:
        tensor = source.get(node.output[0], "")
        if node.op_type == "QuantizeLinear" and tensor in produced:
            first.setdefault(tensor, node)
        elif node.op_type == "DequantizeLinear" and tensor in first and first[tensor].output[0] == node.input[0]:
            found.setdefault(tensor, (first[tensor], node))
    return found


def _copy_of(node: NodeProto, inputs: list[str], outputs: list[str]) -> NodeProto:
    new = NodeProto()
    new.CopyFrom(node)
    new.name += TWIN
    new.input[:], new.output[:] = inputs, outputs
    return new


def _twin(tensor: str, fp32: Model, weights, pairs, twins: dict[str, NodeProto]) -> str:
    """The tensor made with quantized weights, by twins of its operator and of those that are fused in front of it.

    A Conv whose Clip or Relu has the codes has none of its own: both are one kernel. Itself where no weight is read.
    """
    node = fp32.producers[tensor]
    if tensor + TWIN in twins:
        return tensor + TWIN
    fused = {t for t in node.input if t in fp32.producers and t not in pairs and t not in weights}
    inputs = [_twin(t, fp32, weights, pairs, twins) if t in fused else t for t in node.input]
    inputs = [t + TWIN if t in weights else t for t in inputs]
    if inputs == list(node.input):
        return tensor
    twins |= dict.fromkeys((t + TWIN for t in node.output), _copy_of(node, inputs, [t + TWIN for t in node.output]))
    return tensor + TWIN


def _isolated(fp32: Model, qdq: Model, pairs, only) -> tuple[Model, dict[str, str]]:
    """The float graph with a twin of each operator that reads the float inputs; {tensor: name of the twin's value}."""
    model, weights, outputs = fp32.copy(), _weights(qdq), {}
    graph = model.proto.graph
    if only != "activations":
        graph.initializer.extend(numpy_helper.from_array(w, t + TWIN) for t, w in weights.items())
    if only != "weights":
        needed = {name for q, dq in pairs.values() for node in (q, dq) for name in node.input[1:]}
        graph.initializer.extend(t for t in qdq.proto.graph.initializer if t.name in needed)
        opsets = {o.domain for o in fp32.proto.opset_import}
        model.proto.opset_import.extend(o for o in qdq.proto.opset_import if o.domain not in opsets)
    twins: dict[str, NodeProto] = {}
    for tensor, (q, dq) in pairs.items():
        value = tensor if only == "activations" else _twin(tensor, fp32, weights, pairs, twins)
        if only != "weights":
            codes, real = tensor + TWIN + "_q", tensor + TWIN + "_dq"
            graph.node.append(_copy_of(q, [value, *q.input[1:]], [codes]))
            graph.node.append(_copy_of(dq, [codes, *dq.input[1:]], [real]))
            value = real
        outputs[tensor] = value
    graph.node.extend({id(node): node for node in twins.values()}.values())
    return model, outputs


def _with_weights(fp32: Model, values: dict[str, np.ndarray]) -> Model:
    """The float graph with other numbers stored under some names."""
    model = fp32.copy()
    for t in model.proto.graph.initializer:
        if t.name in values:
            t.CopyFrom(numpy_helper.from_array(values[t.name].reshape(tuple(t.dims)), t.name))
    return model


def _with_float_weights(qdq: Model, fp32: Model) -> Model:
    """The QDQ graph with every stored tensor as the float graph has it."""
    model = qdq.copy()
    graph = model.proto.graph
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in qdq.constants]:
        graph.initializer.append(numpy_helper.from_array(fp32.constants[float_name(node.input[0])], node.output[0]))
        graph.node.remove(node)
    return model


def _side_by_side(left: Model, right: Model, names: dict[str, str], sizes: dict[str, int]) -> Both:
    """Left's value of each tensor beside right's value of names[tensor], both on the CPU as the graphs are written."""
    groups = in_groups({t: 2 * sizes.get(t, 0) for t in names}, _HELD)
    if left is right:
        parts = Parts(left, [list(dict.fromkeys([*group, *(names[t] for t in group)])) for group in groups])
        return lambda feed: _beside(groups, names, ((made, made) for made in parts(feed)))
    one, two = Parts(left, groups), Parts(right, [[names[t] for t in group] for group in groups])
    return lambda feed: _beside(groups, names, zip(one(feed), two(feed), strict=True))


def _beside(groups, names, made) -> Iterator[Pair]:
    """What both sides made of each group, tensor by tensor; a group is let go before the next one is made."""
    for group, (left, right) in zip(groups, made, strict=True):
        for tensor in group:
            yield tensor, left[tensor], right[names[tensor]]
        left.clear()
        right.clear()


def _on_floats(fp32: Model, qdq: Model, pairs, isolated: bool, only: str | None) -> Both:
    """Both on the CPU, as the graphs are written."""
    sizes = tensor_bytes(fp32)
    if isolated:
        other, names = _isolated(fp32, qdq, pairs, only)
        return _side_by_side(other, other, names, sizes)
    if only == "weights":
        return _side_by_side(fp32, _with_weights(fp32, _weights(qdq)), {t: t for t in pairs}, sizes)
    other = _with_float_weights(qdq, fp32) if only == "activations" else qdq
    return _side_by_side(fp32, other, {t: dq.output[0] for t, (_, dq) in pairs.items()}, sizes)


def _on_simulator(fp32: Model, model: Simulator, pairs, isolated: bool) -> Both:
    """The simulator's arithmetic on the quantized side."""
    wanted = [t for t in pairs if any(t in outputs for _, _, outputs in model.steps)]
    left = targets.load(fp32.with_outputs(wanted))

    def both(feed):
        floats = dict(zip(wanted, left.run(wanted, feed), strict=True))
        codes = each_alone(model, floats | feed) if isolated else model.run(feed, every=True)
        return ((t, floats[t], dequantize(codes[t], model.qparams[t])) for t in wanted)

    return both


def each_alone(model: Simulator, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Codes of every operator of an `integer.Simulator`, each on `values` of its inputs (real numbers or codes)."""
    given = model.codes(values)  # the graph inputs, as the HTP makes them
    for t, x in values.items():
        if t not in given:
            given[t] = x if x.dtype == np.uint8 else quantize(x, model.qparams[t], name=t)
    made: dict[str, np.ndarray] = {}
    with one_thread():
        for kernel, taken, outputs in model.steps:
            known = [given.get(t, model.stored.get(t, made.get(t))) for t in taken]
            out = kernel(*known)
            made.update(zip(outputs, out if isinstance(out, list) else [out], strict=True))
    return made


def _on_outputs(fp32: Model, session) -> Both:
    """The graph's outputs alone: all that a device shows without breaking what it fused."""
    wanted = [o.name for o in session.get_outputs()]
    left = targets.load(fp32.with_outputs(wanted))
    return lambda feed: zip(wanted, left.run(wanted, feed), session.run(wanted, feed), strict=True)


def each_feed(feeds, what: str):
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
    >>> head = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => '
    >>> fp32 = parse_model(head + "(float[2] f) { f = Relu(x) }")
    >>> qdq = parse_model(head + '''(float[2] y) <float s = {0.5}, uint8 z = {0}> { f = Relu(x)
    ...     q = QuantizeLinear(f, s, z)  y = DequantizeLinear(q, s, z) }''')
    >>> round(layer_sqnr(fp32, qdq, [{"x": np.float32([1.1, -2])}])["f"], 1)
    20.8
    """
    chosen = targets.get(target)
    if only not in (None, "weights", "activations"):
        raise ValueError(f"only '{only}' is unknown; choose weights, activations, or None for both.")
    if only and not chosen.runs_floats:
        raise ValueError(f"target '{target}' computes on codes alone, so it cannot leave a kind float; use 'cpu'.")
    real, quantized = Model.of(fp32), Model.of(qdq)
    pairs, simulator = _pairs(quantized, real.producers), chosen.simulator(quantized)
    if chosen.runs_floats:
        both = _on_floats(real, quantized, pairs, isolated, only)
    elif simulator:
        both = _on_simulator(real, simulator, pairs, isolated)
    elif isolated:
        text = "shows the graph's outputs only; for isolated operators use 'integer' or 'cpu'"
        raise ValueError(f"target '{target}' {text}.")
    else:
        both = _on_outputs(real, targets.load(qdq, target))
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for feed in each_feed(feeds, f"SQNR on {target}"):
        for tensor, a, b in both(feed):
            a, gap = a.ravel(), (a - b).ravel()
            signal[tensor] = signal.get(tensor, 0.0) + float(a @ a)
            noise[tensor] = noise.get(tensor, 0.0) + float(gap @ gap)
    with np.errstate(divide="ignore"):
        return {t: float(10 * np.log10(np.divide(signal[t], noise[t]))) if noise[t] else np.inf for t in signal}
