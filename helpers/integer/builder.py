"""A QDQ graph read for the simulator: its constants' codes, and one kernel prepared for each operator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx

from helpers.affine import QParams
from helpers.graph import QDQ, Group, Model, float_name
from helpers.integer.kernels import (
    CONSTANT,
    FUSES_INTO_CONCAT,
    KERNELS,
    MOVES,
    PASSES,
    TABLED,
    WEIGHTED,
    Compute,
    Operator,
    dropped,
    layout,
    refuse,
)


class Step(NamedTuple):
    """One kernel, and the tensors of the float graph that it reads and makes."""

    kernel: Compute
    inputs: list[str]
    outputs: list[str]

    def run(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Codes of its outputs, from `values` of its inputs."""
        made = self.kernel(*(values[t] for t in self.inputs))
        return dict(zip(self.outputs, made if isinstance(made, list) else [made], strict=True))


def stored_codes(graph: Model) -> tuple[dict[str, QParams], dict[str, np.ndarray]]:
    """({tensor: QParams}, {weight or bias: its codes}); graph inputs that are codes have their QParams at their DQ."""
    qparams, stored = dict(graph.qparams), {}
    for node in graph.nodes:
        if node.op_type not in QDQ:
            continue
        tensor = graph.float_names[node.output[0]]
        if node.input[0] in graph.constants:
            stored[tensor] = graph.constants[node.input[0]]
        elif node.op_type == "DequantizeLinear" and tensor not in qparams:
            qparams[tensor] = graph.qparams_of(node)
    return qparams, stored


def _whole_numbers(graph: Model) -> set[str]:
    """Tensors of indices or truth values that the graph is given or computes, and that no scale belongs to."""
    values = (*graph.inferred.graph.value_info, *graph.inferred.graph.input, *graph.inferred.graph.output)
    kinds = {onnx.TensorProto.BOOL, onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    return {v.name for v in values if v.type.tensor_type.elem_type in kinds} - set(graph.constants)


def _readers(graph: Model, stored: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """{tensor of the float graph: the operators that read it}."""
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op_type not in QDQ:
            inputs = [graph.float_names.get(t, t) for t in node.input]
            for t in inputs:
                readers.setdefault(t, []).append(_kind(node.op_type, inputs, stored))
    return readers


def _kind(op: str, inputs: Collection[str], stored: Mapping[str, np.ndarray]) -> str:
    """The operator, by another name where one of its inputs is a constant of one element and the HTP's rule another."""
    constant = any(t in stored and stored[t].size == 1 for t in inputs)
    return CONSTANT + op if constant and CONSTANT + op in KERNELS else op


class Builder:
    """Prepares one kernel after the other. A Concat reads what its producers make at its own scale: a second step."""

    def __init__(self, graph: Model, qparams: dict[str, QParams], stored: dict[str, np.ndarray]):
        self.graph, self.qparams, self.stored = graph, qparams, stored
        self.nodes = {float_name(node.output[0]): node for node in graph.nodes if node.op_type not in QDQ}
        self.steps: list[Step] = []
        self.entries: dict[str, str] = {}  # {a graph input at the scale of a Concat: that input}
        self.made: dict[str, tuple[Operator, list[str]]] = {}  # {tensor: what makes it, from which tensors}
        self.readers = _readers(graph, stored)
        self.tiled: set[str] = set()  # tensors that the HTP lays out in tiles
        self.edge = set(graph.inputs)  # tensors that hold a graph input's codes unchanged
        self.whole = _whole_numbers(graph)  # indices and conditions, which have no scale

    def add(self, group: Group) -> None:
        """Prepare the kernel of one operator; raises ValueError where there is none, or a tensor is not uint8."""
        node = self.nodes[group.output]
        name = f"{node.op_type} node '{node.name or group.output}'"
        source = self.graph.float_names
        inputs = list(group.inputs) if group.op == "SiLU" else [source.get(t, t) for t in node.input]
        outputs = [float_name(o) for o in node.output if o]
        taken = [t for t in inputs if t in self.qparams or t in self.whole]
        kind = _kind(group.op, taken, self.stored)
        if kind not in KERNELS:
            known = ", ".join(sorted(KERNELS))
            raise ValueError(f"{name}: no integer kernel; use target 'cpu', or replace it by one of {known}.")
        self._refuse_types(kind, name, [*taken, *outputs])
        op = Operator(
            kind=kind,
            name=name,
            attr={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            stored=[self.stored.get(t, self.graph.constants.get(t)) for t in inputs],
            sizes=[self.graph.shapes.get(t, ()) for t in node.input],
            shapes=[np.shape(self.stored[t]) if t in self.stored else None for t in taken if t in self.qparams],
            inputs=[],
            outputs=[self.qparams[t] for t in outputs if t in self.qparams],
            kinds=[],
            edge=[],
        )
        if CONSTANT + op.kind in KERNELS and any(s is not None and np.prod(s) == 1 for s in op.shapes):
            op = replace(op, kind=CONSTANT + op.kind)
        if dropped(op, before := self._before(taken[:1])):
            op, taken = replace(before[0], outputs=op.outputs), self.made[taken[0]][1]
        self._prepare(op, taken, outputs)

    def _before(self, tensors: list[str]) -> list[Operator]:
        """The operators before the first of `tensors`, the nearest first, as far back as codes are only moved."""
        found: list[Operator] = []
        while tensors and tensors[0] in self.made:
            op, tensors = self.made[tensors[0]]
            found.append(op)
            if op.kind not in MOVES:
                break
        return found

    def _refuse_types(self, kind: str, name: str, tensors: list[str]) -> None:
        """Raise ValueError, naming it, for a tensor of a type that operator `kind` is not known to take or to make."""
        for tensor in tensors:
            dtype = self.qparams[tensor].dtype if tensor in self.qparams else "float32"
            if tensor in self.whole or (tensor in self.stored and kind in WEIGHTED):
                continue
            if dtype != "uint8":
                raise ValueError(f"{name}: tensor '{tensor}' is {dtype}; quantize every activation to uint8.")

    def _prepare(self, op: Operator, taken: list[str], outputs: list[str]) -> None:
        """One step more; `op` learns what is known of its inputs."""
        if op.kind == "Concat":
            taken = [self._at_scale_of(outputs[0], t) for t in taken]
        scaled = [t for t in taken if t in self.qparams]
        op = replace(
            op,
            inputs=[self.qparams[t] for t in scaled],
            kinds=[self._kind(t, PASSES if op.kind == "Concat" else ()) for t in scaled],
            edge=[t in self.edge for t in scaled],
            tiled=[t in self.tiled for t in scaled],
            readers=self.readers.get(outputs[0], []),
        )
        self.steps.append(Step(KERNELS[op.kind](op), taken, outputs))
        if op.kind in MOVES and op.edge[0]:
            self.edge.update(outputs)
        if layout.tiled(op.kind, op.tiled):
            self.tiled.update(outputs)
        self.made |= dict.fromkeys(outputs, (op, taken))

    def _kind(self, tensor: str, passed: Collection[str]) -> str | None:
        """The operator that makes a tensor, seen through the operators in `passed`; None if none does."""
        if tensor not in self.made:
            return None
        op, taken = self.made[tensor]
        return self._kind(taken[0], passed) if op.kind in passed else op.kind

    def _at_scale_of(self, target: str, tensor: str) -> str:
        """The tensor that Concat `target` reads: `tensor`, or what its producer makes at the Concat's scale."""
        wanted = self.qparams[target]
        if self.qparams[tensor] == wanted:
            return tensor
        if tensor in self.graph.inputs:
            return self._entry(target, tensor)
        if tensor in self.edge or tensor not in self.made:
            return tensor
        op, taken = self.made[tensor]
        if op.kind in MOVES - {"Split", "Slice"} and op.inputs[0] != op.outputs[0]:
            refuse(op, f"its output, its input and Concat '{target}' have three scales, which is not known here")
        if op.kind in FUSES_INTO_CONCAT | PASSES and self.qparams[tensor].zero_point == 0 != wanted.zero_point:
            # A range that begins at 0 clamps there, so the HTP keeps it and recodes.
            if self._kind(tensor, PASSES) not in TABLED and (op.kind in PASSES or (op.kind != "Conv" and any(op.edge))):
                refuse(
                    op, f"its output has Z = 0 and Concat '{target}' another scale, whose rounding is not known here"
                )
            return tensor
        if op.kind in PASSES:
            before = taken
            if self.made[before[0]][0].kind == "Concat" and self.qparams[before[0]] != wanted:
                refuse(op, f"it stands between a Concat and Concat '{target}' of another scale")
            taken = [self._at_scale_of(target, t) for t in before]
            if taken == before:
                return tensor
        elif op.kind not in FUSES_INTO_CONCAT:
            return tensor
        again = f"{tensor} at the scale of {target}"
        self.qparams[again] = wanted
        self._prepare(replace(op, outputs=[wanted]), taken, [again])
        return again

    def _entry(self, target: str, tensor: str) -> str:
        """A graph input at the scale of Concat `target`: its codes come with those of the input."""
        entry, ratio = f"{tensor} at the scale of {target}", self.qparams[tensor].scale / self.qparams[target].scale
        if ratio >= 16:
            text = f"goes into Concat '{target}' at {ratio:.3g} times its scale, whose rounding is not known from 16 on"
            raise ValueError(f"input '{tensor}' {text}; give both one scale, or use target 'cpu' or 'htp'.")
        self.qparams[entry] = self.qparams[target]
        self.entries[entry] = tensor
        return entry
