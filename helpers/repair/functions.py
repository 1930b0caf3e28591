"""What a tensor is good for: the function of one number that its only readers compute."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

from helpers import targets
from helpers.graph import Model, ModelLike

_AFFINE = {"Add", "Sub", "Mul", "Div", "Neg", "Identity"}
_ELEMENTWISE = _AFFINE | set(
    "Sigmoid HardSigmoid HardSwish Swish Tanh Relu LeakyRelu ThresholdedRelu Elu Selu Celu Gelu Mish Softplus Softsign "
    "Clip Erf Exp Log Sqrt Abs Reciprocal Pow Min Max".split()
)
_LONGEST = 12  # nodes of one function: exporters write GELU in six, others in nine


class FunctionBlock(NamedTuple):
    """y = f(x) element by element: the tensors x, those in between, y, and the nodes, in graph order.

    Nothing but these nodes reads x and what lies in between, so x matters through f(x) alone.
    """

    x: str
    inner: tuple[str, ...]
    y: str
    nodes: tuple[onnx.NodeProto, ...]

    @property
    def tensors(self) -> list[str]:
        """x, those in between, y."""
        return [self.x, *self.inner, self.y]


def function_blocks(model: ModelLike) -> list[FunctionBlock]:
    """Every activation function of a graph, however its exporter wrote it: one node, or a chain such as x·σ(x).

    A block is the shortest run of elementwise nodes, their other inputs single numbers, after which nothing reads x
    again. Straight lines (scaling, adding a number) are none, nor are a Relu or Clip alone, which the quantizer
    folds into the operator before. Raises as `Model.of` does.

    >>> from onnx.parser import parse_model
    >>> text = '''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { s = Sigmoid(x)  y = Mul(s, x) }'''
    >>> [block.tensors for block in function_blocks(parse_model(text))]
    [['x', 's', 'y']]
    """
    graph = Model.of(model)
    place = {node.output[0]: k for k, node in enumerate(graph.nodes)}
    numbers = {t.name for t in graph.proto.graph.initializer if int(np.prod(t.dims)) == 1}
    numbers |= {name for n in graph.nodes if n.op_type == "Constant" for name in n.output}
    found = (_block_of(graph, x, place, numbers) for x in (*graph.inputs, *place))
    return [block for block in found if block is not None and _bends(block)]


def _block_of(graph: Model, x: str, place: dict[str, int], numbers: set[str]) -> FunctionBlock | None:
    """The shortest block that starts at x; None where something else reads x or what is made of it."""
    made, kept = [x], set(graph.outputs)
    nodes: list[onnx.NodeProto] = []
    todo = {place[n.output[0]] for n in graph.consumers.get(x, [])}
    while todo and len(nodes) < _LONGEST and made[-1] not in (kept if nodes else ()):
        node = graph.nodes[min(todo)]
        todo.discard(min(todo))
        other = [t for t in node.input if t and t not in made]
        if node.op_type not in _ELEMENTWISE or any(t not in numbers for t in other):
            return None
        nodes.append(node)
        if not todo and x not in kept:
            return FunctionBlock(x, tuple(made[1:]), node.output[0], tuple(nodes))
        made.append(node.output[0])
        todo |= {place[n.output[0]] for n in graph.consumers.get(node.output[0], [])}
    return None


def _bends(block: FunctionBlock) -> bool:
    """Whether its function is none that costs nothing: no straight line, and no lone Relu or Clip."""
    kinds = [n.op_type for n in block.nodes]
    straight = all(kind in _AFFINE for kind in kinds) and not block.inner
    return not straight and kinds not in (["Relu"], ["Clip"])


class Function:
    """The function of a block as numbers: called with x, any number of values, it gives f(x), float64.

    >>> from onnx.parser import parse_model
    >>> text = '''<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)
    ...     { s = Sigmoid(x)  y = Mul(s, x) }'''
    >>> net = parse_model(text)
    >>> Function(Model(net), function_blocks(net)[0])(np.zeros(3))
    array([0., 0., 0.])
    """

    def __init__(self, model: Model, block: FunctionBlock):
        proto = onnx.ModelProto(ir_version=model.proto.ir_version, opset_import=model.proto.opset_import)
        graph, read = proto.graph, {t for node in block.nodes for t in node.input}
        graph.name = "function"
        graph.initializer.extend(t for t in model.proto.graph.initializer if t.name in read)
        graph.node.extend(n for n in model.nodes if n.op_type == "Constant" and n.output[0] in read)
        graph.node.extend(block.nodes)
        graph.input.append(onnx.helper.make_tensor_value_info(block.x, onnx.TensorProto.FLOAT, [None]))
        graph.output.append(onnx.helper.make_tensor_value_info(block.y, onnx.TensorProto.FLOAT, None))
        self.name, self.session = block.x, targets.load(Model(proto), threads=1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.name: x.astype(np.float32)})[0].reshape(-1).astype(np.float64)
