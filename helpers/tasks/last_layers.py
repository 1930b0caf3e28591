"""The last learned layers of a graph: what lies behind them only decodes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from helpers.graph import Model

_Channels = tuple[int, int] | None  # first, last + 1; None for all
_At = tuple[str, _Channels]  # a tensor, and which of its channels
_LEARNED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Walk:
    """Back through a graph to the learned layers that some channels of a tensor come from."""

    def __init__(self, model: Model):
        self.producers, self.stored, self.shapes = model.producers, model.constants, model.shapes

    def is_dfl(self, node: onnx.NodeProto) -> bool:
        """Whether a layer's weights are 0, 1, 2, …, as only DFL's are."""
        weight = self.stored.get(node.input[1]) if node.op_type in _LEARNED else None
        return weight is not None and weight.size > 1 and np.array_equal(weight.ravel(), np.arange(weight.size))

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies by learned weights, or adds the bias of such a MatMul."""
        if node.op_type == "Add" and any(t in self.stored for t in node.input):
            return any(n is not None and n.op_type == "MatMul" and self.is_layer(n) for n in self._makers(node))
        return node.op_type in _LEARNED and node.input[1] in self.stored and not self.is_dfl(node)

    def _makers(self, node: onnx.NodeProto) -> list[onnx.NodeProto | None]:
        return [self.producers.get(t) for t in node.input]

    def layers(self, names: Iterable[str]) -> list[str]:
        """Outputs of the last learned layers before `names`."""
        found: list[str] = []
        seen: set[_At] = set()
        todo: list[_At] = [(name, None) for name in names]
        while todo:
            name, channels = todo.pop(0)
            node = self.producers.get(name)
            if node is None or (name, channels) in seen:
                continue
            seen.add((name, channels))
            if not self.is_layer(node):
                todo += self._before(node, name, channels)
            elif name not in found:
                found.append(name)
        return found

    def _before(self, node: onnx.NodeProto, name: str, channels: _Channels) -> list[_At]:
        """The inputs of a node and their channels that those of its output `name` come from."""
        kind, along_channels = node.op_type, self._axis(node) == 1
        if kind == "Split" and along_channels and (widths := self._widths(node.output)):
            k = list(node.output).index(name)
            first, last = channels or (0, widths[k])
            start = sum(widths[:k])
            return [(node.input[0], (start + first, start + last))]
        if kind == "Concat" and along_channels and channels and (widths := self._widths(node.input)):
            ends = np.cumsum(widths).tolist()
            parts = zip(node.input, [0, *ends[:-1]], ends, strict=True)
            first, last = channels
            return [(t, (max(first - a, 0), min(last, b) - a)) for t, a, b in parts if first < b and last > a]
        same = kind in ("Concat", "Identity", "Sigmoid") or (kind == "Reshape" and self._keeps_channels(node, name))
        kept = channels if same and len(self.shapes.get(name, ())) > 1 else None
        return [(t, kept) for t in node.input]

    def _axis(self, node: onnx.NodeProto) -> int | None:
        """The axis of a Split or Concat, counted from the front."""
        for attribute in node.attribute:
            if attribute.name == "axis":
                return attribute.i % (len(self.shapes.get(node.output[0], ())) or 1)
        return 0 if node.op_type == "Split" else None

    def _widths(self, names: Iterable[str]) -> list[int]:
        """The channels of each tensor; empty where one is not known."""
        shapes = [self.shapes.get(name, ()) for name in names]
        return [shape[1] for shape in shapes] if all(len(shape) > 1 for shape in shapes) else []

    def _keeps_channels(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether a Reshape only joins places: 1×C×H×W to 1×C×HW."""
        before, after = self.shapes.get(node.input[0], ()), self.shapes.get(name, ())
        return len(before) > 1 and len(after) > 1 and before[:2] == after[:2]
