"""A float graph as a function of its weights: how one layer after the other is tried without a new session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from onnx import helper, numpy_helper

from helpers import targets
from helpers.graph import Model, ModelLike


def weights_to_outputs(model: ModelLike, feeds: Iterable[dict]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A function {weight: array} → what the float graph makes of all feeds, every output in one row of numbers.

    Weights that it is not given stay as they are. It runs on the CPU, in one session: the weights become graph inputs
    with values of their own. Raises ValueError, when called, for a name that is no weight.

    >>> from onnx.parser import parse_model
    >>> graph = parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[1,2] x) => (float[1,1] y) <float[2,1] w = {1, 2}> { y = MatMul(x, w) }''')
    >>> run = weights_to_outputs(graph, [{"x": np.float32([[3, 4]])}])
    >>> run({}).tolist(), run({"w": np.float32([[0], [1]])}).tolist()
    ([11.0], [4.0])
    """
    opened, given = Model.of(model).copy(), list(feeds)
    weights = opened.weights
    declared = {i.name for i in opened.proto.graph.input}
    for tensor in opened.proto.graph.initializer:
        if tensor.name in weights and tensor.name not in declared:
            kind = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            opened.proto.graph.input.append(kind)
    types = {t.name: numpy_helper.to_array(t).dtype for t in opened.proto.graph.initializer if t.name in weights}
    session = targets.load(opened)

    def run(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        if unknown := [name for name in arrays if name not in types]:
            raise ValueError(
                f"{opened}: '{unknown[0]}' is none of its weights; `graph.Model.of(path).weights` has them."
            )
        fed = {name: np.asarray(array, types[name]) for name, array in arrays.items()}
        outputs = [out for feed in given for out in session.run(None, {**feed, **fed})]
        return np.concatenate([np.ravel(out) for out in outputs])

    return run
