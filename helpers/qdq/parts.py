"""A graph run part by part, so that whoever looks at every tensor holds only one part's."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from helpers import targets
from helpers.graph import Model, reads

_SMALL = 1 << 12  # bytes of a stored tensor up to which shape inference may need its values, not only its shape


def in_groups(sizes: Mapping[str, int], budget: int) -> list[list[str]]:
    """The names in order, in lists whose sizes add up to at most `budget`; what is larger alone is a list alone.

    >>> in_groups({"a": 2, "b": 2, "c": 5, "d": 1}, 4)
    [['a', 'b'], ['c'], ['d']]
    """
    groups: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if groups[-1] and held + size > budget:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def _empty_like(model: Model) -> onnx.ModelProto:
    """A model without nodes that understands the same operators."""
    source = model.proto
    proto = onnx.ModelProto(ir_version=source.ir_version, opset_import=source.opset_import, functions=source.functions)
    proto.graph.name = source.graph.name
    return proto


def tensor_bytes(model: Model) -> dict[str, int]:
    """{tensor: its bytes as float32}, inferred without a copy of the weights; 0 where the shape is not known."""
    light, graph = _empty_like(model), model.proto.graph
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    known = {i.name for i in graph.input}
    for t in graph.initializer:
        if 4 * math.prod(t.dims) <= _SMALL:
            light.graph.initializer.append(t)
        elif t.name not in known:
            light.graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    return {name: 4 * math.prod(shape) for name, shape in Model(light).shapes.items()}


def _needed(model: Model, tensors: Iterable[str], done: set[int]) -> list[int]:
    """Indices of the nodes that make `tensors`, in graph order, without those `done` already."""
    nodes, ends, found = model.proto.graph.node, list(tensors), set()
    maker = {name: k for k, node in enumerate(nodes) for name in node.output if name}
    while ends:
        k = maker.get(ends.pop())
        if k is not None and k not in found and k not in done:
            found.add(k)
            ends += reads(nodes[k])
    return sorted(found)


class Parts:
    """A graph on the CPU, cut into parts that make one group of tensors each; every node runs once a feed.

    Called with a feed it yields {tensor: array} group by group, the same numbers as the whole graph's. What later
    parts read is carried on, the rest is let go; whoever is done with a group empties its dict. `options` are those
    of `targets.load`.

    >>> from onnx.parser import parse_model
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }'
    >>> parts = Parts(Model(parse_model(text)), [["a"], ["y"]])
    >>> [[name, *array] for made in parts({"x": np.float32([-1, 2])}) for name, array in made.items()]
    [['a', np.float32(0.0), np.float32(2.0)], ['y', np.float32(-0.0), np.float32(-2.0)]]
    """

    def __init__(self, model: Model, groups: Sequence[Sequence[str]], **options):
        self.model, self.groups, self.options = model, groups, options
        self.sessions: list = [None] * len(groups)
        self.nodes: list[list[int]] = []
        done: set[int] = set()
        for group in groups:
            self.nodes.append(_needed(model, group, done))
            done.update(self.nodes[-1])
        nodes = model.proto.graph.node
        made = [[t for k in part for t in nodes[k].output if t] for part in self.nodes]
        taken = [dict.fromkeys(t for k in part for t in reads(nodes[k])) for part in self.nodes]
        live = {*model.inputs, *(t for part in made for t in part)}
        self.takes = [[t for t in r if t in live and t not in m] for r, m in zip(taken, map(set, made), strict=True)]
        self.last = {
            t: i for i, group in enumerate(groups) for t in (*self.takes[i], *group)
        }  # part that needs it last
        self.gives = [[t for t in part if t in groups[i] or self.last.get(t, i) > i] for i, part in enumerate(made)]

        self.final = max((i for i, gives in enumerate(self.gives) if gives), default=None)  # the last to be opened

    def __call__(self, feed: dict) -> Iterator[dict[str, np.ndarray]]:
        held = dict(feed)
        for i, group in enumerate(self.groups):
            given = {t: held[t] for t in self.takes[i] if t in held}
            if self.gives[i]:
                held.update(zip(self.gives[i], self._session(i, given).run(self.gives[i], given), strict=True))
            found = {t: held[t] for t in group}
            held = {t: x for t, x in held.items() if self.last.get(t, 0) > i}
            given.clear()
            yield found

    def _session(self, i: int, given: Mapping[str, np.ndarray]):
        """Part i's session, opened at the first feed: only then are the types of what it takes known."""
        if self.sessions[i] is None:
            with tempfile.TemporaryDirectory() as work:  # from a file: one copy of the weights less than from memory
                path = self._write(i, given, Path(work))
                if i == self.final:
                    del self.model  # let go before the session makes its own copy of the weights
                self.sessions[i] = targets.load(path, arena=False, **self.options)
        return self.sessions[i]

    def _write(self, i: int, given: Mapping[str, np.ndarray], folder: Path) -> Path:
        proto, graph = _empty_like(self.model), self.model.proto.graph
        proto.graph.node.extend(graph.node[k] for k in self.nodes[i])
        read = {t for node in proto.graph.node for t in reads(node)}
        proto.graph.initializer.extend(t for t in graph.initializer if t.name in read)
        inputs = self.model.inputs
        for name in self.takes[i]:
            if name in inputs:
                proto.graph.input.append(inputs[name])
            else:
                kind = onnx.helper.np_dtype_to_tensor_dtype(given[name].dtype)
                proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.gives[i])
        onnx.save(proto, folder / "part.onnx")
        return folder / "part.onnx"
