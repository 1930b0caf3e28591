"""A QDQ graph run on integer codes alone, to the codes that Hexagon's HTP computes."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import onnx
from threadpoolctl import ThreadpoolController

from helpers.affine import QParams, dequantize
from helpers.graph import Model, float_name, fused_groups
from helpers.integer.htp_rounding import quantize_input, rescale_lut
from helpers.integer.kernels import FUSES_INTO_CONCAT, KERNELS, MOVES, PASS, refuse


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def one_thread():
    """BLAS on one thread, for a `with`: on a busy machine its threads wait ten times longer than they work."""
    return _blas().limit(limits=1)


def _check(model, inputs, floats) -> None:
    """Raises ValueError for a graph whose codes would not be those of `list_qparams`, naming the tensor."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < 13:
        raise ValueError(f"the graph has opset {opset}; convert it to 13 or newer with `onnx.version_converter`.")
    for value in inputs:
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        if kind not in ("FLOAT", "UINT8"):
            raise ValueError(f"input '{value.name}' is {kind.lower()}; give the graph float or uint8 inputs.")
    made, pairs = {}, {}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[0] in floats:
            continue
        first, tensor = made.get(node.input[0]), float_name(node.input[0])
        key = node.input[0] if first is None or first.op_type != "QuantizeLinear" else first.input[0]
        numbers = [floats[name] for name in node.input[1:]]
        if any(v.size != 1 for v in numbers):
            raise ValueError(f"tensor '{tensor}' has a scale per channel; give every activation one scale.")
        dtype = numbers[1].dtype.name if len(numbers) > 1 else "uint8"
        if dtype != "uint8":
            raise ValueError(f"tensor '{tensor}' is {dtype}; quantize every activation to uint8.")
        numbers = [v.item() for v in numbers]
        if node.op_type == "QuantizeLinear" and first is not None and first.op_type == "DequantizeLinear":
            raise ValueError(f"tensor '{tensor}' is quantized a second time; give each tensor one pair of Q and DQ.")
        if pairs.setdefault(key, numbers) != numbers:
            raise ValueError(f"tensor '{float_name(key)}' has two scales in its Q and DQ nodes; give it one.")
        made[node.output[0]] = node


class Simulator:
    """A QDQ graph with its weights, multipliers and tables prepared once; `run` then computes on codes.

    `model` is a path, a ModelProto or a `graph.Model`, A8W8 and static. Raises ValueError for what it does not know,
    by name.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     <float s = {0.5}, uint8 z = {0}> { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)
    ...     c = Sigmoid(b)  d = QuantizeLinear(c, s, z)  y = DequantizeLinear(d, s, z) }''')
    >>> Simulator(net).run({"x": np.float32([0, 5])})
    {'y': array([1, 2], dtype=uint8)}
    """

    def __init__(self, model):
        model = Model.of(model)
        graph, floats = model.proto.graph, model.constants
        self.proto, self.qparams = model.proto, dict(model.qparams)
        self.inputs = list(model.inputs.values())
        _check(model.proto, self.inputs, floats)
        source, self._stored, nodes = {}, {}, {}
        for node in graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                nodes[float_name(node.output[0])] = node
                continue
            tensor = source[node.output[0]] = float_name(source.get(node.input[0], node.input[0]))
            if node.input[0] in floats:
                self._stored[tensor] = floats[node.input[0]]
            elif node.op_type == "DequantizeLinear" and tensor not in self.qparams:  # a graph input of codes
                zero = floats[node.input[2]]
                self.qparams[tensor] = QParams(floats[node.input[1]].item(), zero.item(), zero.dtype.name)
        self._outputs = {o.name: float_name(source.get(o.name, o.name)) for o in graph.output}
        self._steps, self._asides, self._edge, made = [], {}, {i.name for i in self.inputs}, {}
        for group in fused_groups(model):
            node = nodes[group.output]
            name = f"{node.op_type} node '{node.name or group.output}'"
            if group.op not in KERNELS:
                known = ", ".join(KERNELS)
                raise ValueError(f"{name}: no integer kernel; use target 'cpu', or replace it by one of {known}.")
            outputs = [float_name(o) for o in node.output]
            inputs = list(group.inputs) if group.op == "SiLU" else [source.get(t, t) for t in node.input]
            taken = [t for t in inputs if t in self.qparams]
            for tensor in (*taken, *outputs):
                dtype = self.qparams[tensor].dtype if tensor in self.qparams else "float32"
                if dtype != "uint8" and (tensor not in self._stored or group.op != "Conv"):
                    raise ValueError(f"{name}: tensor '{tensor}' is {dtype}; quantize every activation to uint8.")
            op = SimpleNamespace(
                kind=group.op,
                name=name,
                attr={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
                outputs=[self.qparams[t] for t in outputs],
                stored=[self._stored.get(t, floats.get(t)) for t in inputs],
                shapes=[np.shape(self._stored[t]) if t in self._stored else None for t in taken],
            )
            self._step(op, taken, outputs, made)

    def _step(self, op, taken, outputs, made):
        """One kernel more, prepared; a Concat reads what its producers make at its own scale."""
        if op.kind == "Concat":
            taken = [self._aside(t, outputs[0], made) for t in taken]
        inputs, kinds = [self.qparams[t] for t in taken], [made[t][0].kind if t in made else None for t in taken]
        edge = [t in self._edge for t in taken]
        op = SimpleNamespace(**vars(op) | {"inputs": inputs, "kinds": kinds, "edge": edge})
        self._steps.append((KERNELS[op.kind](op), taken, outputs))
        if op.kind in MOVES and edge[0]:
            self._edge.update(outputs)
        made |= dict.fromkeys(outputs, (op, taken))

    def _aside(self, tensor: str, target: str, made) -> str:
        """The tensor that a Concat reads: `tensor`, or what its producer makes at the Concat's scale."""
        op, taken = made.get(tensor, (None, ()))
        entry = tensor in {i.name for i in self.inputs}
        if self.qparams[tensor] == self.qparams[target] or (tensor in self._edge and not entry):
            return tensor
        if not entry and op and op.kind in FUSES_INTO_CONCAT | PASS and self.qparams[tensor].zero_point == 0:
            # A range that begins at 0 clamps there, so the HTP keeps it and recodes.
            if op.kind not in ("Conv", "SiLU"):
                refuse(
                    op, f"its output has Z = 0 and Concat '{target}' another scale, whose rounding is not known here"
                )
            return tensor
        if op and op.kind in PASS:
            if made[taken[0]][0].kind in ("Concat", "Sigmoid") and self.qparams[taken[0]] != self.qparams[target]:
                refuse(op, f"it stands between a Concat or Sigmoid and Concat '{target}' of another scale")
            before, taken = taken, [self._aside(t, target, made) for t in taken]
            if taken == before:
                return tensor
        elif not entry and (not op or op.kind not in FUSES_INTO_CONCAT):
            return tensor
        aside = f"{tensor} at the scale of {target}"
        self.qparams[aside] = self.qparams[target]
        if entry:
            self._asides[aside] = tensor
        else:
            again = SimpleNamespace(**vars(op) | {"outputs": [self.qparams[target]]})
            self._step(again, taken, [aside], made)
        return aside

    def codes(self, feed) -> dict[str, np.ndarray]:
        """Codes of the graph inputs as the HTP makes them; integers are codes already."""
        values = {}
        for i in self.inputs:
            x, qp = np.asarray(feed[i.name]), self.qparams[i.name]
            is_code = x.dtype.kind in "iu"
            values[i.name] = x.astype(np.uint8) if is_code else quantize_input(x, qp, name=i.name)
            for aside in (aside for aside, tensor in self._asides.items() if tensor == i.name):
                if not is_code:
                    raise ValueError(
                        f"input '{i.name}' goes into a Concat of another scale, whose rounding of real numbers is not "
                        "known here; give both one scale, give codes, or use target 'cpu' or 'htp'."
                    )
                values[aside] = rescale_lut(qp, self.qparams[aside], True)[values[i.name]]
        return values

    def run(self, feed, every: bool = False) -> dict[str, np.ndarray]:
        """Codes of the graph's outputs, or of `every` activation by its name in the float graph.

        `feed` is {input name: array}: real numbers are quantized, integers are codes already.
        """
        values = dict(self._stored)
        if unknown := {i.name for i in self.inputs} ^ set(feed):
            raise ValueError(f"input '{min(unknown)}' is not both in the graph and in the feed; give all, and no more.")
        for i in self.inputs:
            x, shape = np.asarray(feed[i.name]), tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
            if x.shape != shape:
                raise ValueError(f"input '{i.name}' has shape {x.shape}; the graph takes {shape}.")
            if x.dtype.kind in "iu" and (x.min() < 0 or x.max() > 255):
                raise ValueError(f"input '{i.name}' holds codes outside of 0 … 255; give uint8 codes or real numbers.")
        values |= self.codes(feed)
        last = {t: k for k, (_, taken, _) in enumerate(self._steps) for t in taken}
        with one_thread():
            for k, (kernel, taken, outputs) in enumerate(self._steps):
                out = kernel(*(values[t] for t in taken))
                values.update(zip(outputs, out if isinstance(out, list) else [out], strict=True))
                if not every:  # what nothing reads any more makes room
                    for t in {t for t in taken if last[t] == k} - set(self._outputs.values()):
                        del values[t]
        if every:
            return {t: v for t, v in values.items() if t not in self._stored}
        return {name: values[t] for name, t in self._outputs.items()}


def run(qdq_model, feeds, every: bool = False) -> dict[str, np.ndarray]:
    """Codes of a QDQ graph's outputs for one feed {input name: array}; `Simulator` prepares once for many.

    Raises ValueError as `Simulator` does. Source: measured on onnxruntime-qnn 2.7.0's HTP, v73; chapter 04 derives it.
    """
    return Simulator(qdq_model).run(feeds, every)


class Session:
    """`Simulator` with the face of an ONNX Runtime session: real numbers out where the graph says so."""

    def __init__(self, model):
        self.model = Simulator(model)

    def _values(self, infos):
        name = onnx.helper.tensor_dtype_to_string
        return [
            SimpleNamespace(
                name=v.name,
                shape=[d.dim_value for d in v.type.tensor_type.shape.dim],
                type=f"tensor({name(v.type.tensor_type.elem_type).removeprefix('TensorProto.').lower()})",
            )
            for v in infos
        ]

    def get_inputs(self):
        return self._values(self.model.inputs)

    def get_outputs(self):
        return self._values(self.model.proto.graph.output)

    def get_modelmeta(self):
        return SimpleNamespace(custom_metadata_map={p.key: p.value for p in self.model.proto.metadata_props})

    def run(self, output_names, feed):
        codes, kinds = self.model.run(feed), {o.name: o.type for o in self.get_outputs()}
        qparams = {name: self.model.qparams[t] for name, t in self.model._outputs.items()}
        return [
            dequantize(codes[name], qparams[name]) if kinds[name] == "tensor(float)" else codes[name]
            for name in (output_names or kinds)
        ]
