"""Which nodes of a float graph a target refuses once they are quantized, by name."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx

from helpers import targets
from helpers.graph import Model, reads
from helpers.qdq.quantize import quantize_model

Ranges = Mapping[str, tuple[float, float]]


def named(model: Model) -> Model:
    """The same graph with a name of its own for every node, as `quantize_model` and the placement need it.

    >>> from helpers import assets
    >>> len({n.name for n in named(Model.of(assets.model())).nodes}) == len(Model.of(assets.model()).nodes)
    True
    """
    other, taken = model.copy(), set()
    for k, node in enumerate(other.proto.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{k}"
        taken.add(node.name)
    return other


def refused(model: Model, ranges: Ranges, target: targets.Target) -> tuple[list[onnx.NodeProto], str]:
    """The nodes of a float graph, every one `named`, that `target` does not take, in graph order, and what it said.

    It said "" where it takes them all. What does not compile as a whole, and so names no node, is tried in shorter
    and shorter stretches of the graph until one node is left.
    """
    with tempfile.TemporaryDirectory() as work:
        found, said = _of_stretch(model, ranges, target, Path(work))
        if found is None:
            found = _one_by_one(model, ranges, target, Path(work))
    names = set(found)
    return [node for node in model.nodes if node.name in names], said


def _of_stretch(model: Model, ranges: Ranges, target: targets.Target, work: Path) -> tuple[list[str] | None, str]:
    """Names of nodes refused and what the target said; None where it does not compile."""
    try:
        path = quantize_model(model, work / "stretch.onnx", ranges)
        target.open(path)
        return [], ""
    except (RuntimeError, ValueError) as e:
        said = str(e)
    names = {node.name for node in model.nodes}
    try:
        return [name for name in target.refused(work / "stretch.onnx") if name in names], said
    except (RuntimeError, ValueError):
        return None, said


def _one_by_one(model: Model, ranges: Ranges, target: targets.Target, work: Path) -> list[str]:
    """Names of nodes without which what is before and behind them compiles."""

    def of(start: int, stop: int) -> list[str] | None:
        part = _stretch(model, start, stop)
        known = {*part.producers, *part.inputs}
        return _of_stretch(part, {t: r for t, r in ranges.items() if t in known}, target, work)[0]

    found: list[str] = []
    start, end = 0, len(model.nodes)
    while start < end:
        kept = of(start, end)
        if kept is not None:
            return found + kept
        low, high = start, end  # nodes[start:low] compile, nodes[start:high] do not
        while high - low > 1:
            middle = (low + high) // 2
            if of(start, middle) is None:
                high = middle
            else:
                low = middle
        if low > start:
            found += of(start, low) or []
        found.append(model.nodes[high - 1].name)
        start = high
    return found


def _stretch(model: Model, start: int, stop: int) -> Model:
    """Nodes start … stop − 1 as a graph of their own."""
    nodes, graph = model.nodes[start:stop], model.proto.graph
    made = {t for node in nodes for t in node.output if t}
    taken = dict.fromkeys(t for node in nodes for t in reads(node) if t and t not in made)
    later = {t for node in model.nodes[stop:] for t in reads(node)} | set(model.outputs)
    inside = {t for node in nodes for t in reads(node)}
    known = {v.name: v for v in (*model.inferred.graph.value_info, *graph.input, *model.inferred.graph.output)}
    stored = [t for t in graph.initializer if t.name in taken]
    inputs = [known[t] for t in taken if t in known and t not in {s.name for s in stored}]
    outputs = [known.get(t, onnx.ValueInfoProto(name=t)) for t in made if t in later or t not in inside]
    proto = onnx.ModelProto(ir_version=model.proto.ir_version, opset_import=model.proto.opset_import)
    proto.graph.CopyFrom(onnx.helper.make_graph(nodes, "stretch", inputs, outputs, stored))
    return Model(proto, model.path)
