"""A graph in two: what is quantized, and the float rest behind it, which travels in the first part's metadata."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import onnx

from helpers.graph.model import Model

REST = "float_rest"  # the metadata key


def split_graph(model: Model, tensors: Iterable[str]) -> Model:
    """The graph cut at `tensors`, with the rest in its metadata: `rest_of` gives it back, `run` of both is the whole.

    Its outputs are `tensors`, and what else the rest reads: a node that both parts need stays in the first alone, so
    that they cannot disagree. Raises ValueError where nothing is left behind the cut, or where the rest needs an
    input of the graph itself.

    >>> from onnx.parser import parse_model
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }'
    >>> front = split_graph(Model(parse_model(text)), ["a"])
    >>> front.outputs, [node.op_type for node in rest_of(front).nodes]
    (['a'], ['Neg'])
    """
    tensors = list(tensors)
    if rest_of(model) is not None:
        raise ValueError(f"{model}: is cut already; give the model that it was cut from.")
    before = _ancestors(model, tensors)
    reached = _ancestors(model, model.outputs, tensors)
    behind = [node for key, node in reached.items() if key not in before]
    made = {t for node in behind for t in node.output}
    read = [t for node in behind for t in node.input if t and t not in made and t not in model.constants]
    read += [t for t in model.outputs if t not in made]
    cut = list(dict.fromkeys([t for t in tensors if t in read] + read))
    if not behind:
        raise ValueError(f"{model}: nothing lies behind {', '.join(tensors)}; name inner tensors.")
    if own := [t for t in cut if t in model.inputs]:
        raise ValueError(f"{model}: input '{own[0]}' is read behind the cut too; cut at other tensors.")
    extractor = onnx.utils.Extractor(model.inferred)
    front, rest = extractor.extract_model(list(model.inputs), cut), extractor.extract_model(cut, model.outputs)
    front.metadata_props.extend(model.proto.metadata_props)
    packed = base64.b64encode(zlib.compress(rest.SerializeToString(), 9)).decode("ascii")
    front.metadata_props.add(key=REST, value=packed)
    return Model(front, model.path).with_stored_constants()


def rest_of(model: Model) -> Model | None:
    """The float rest of a graph that `split_graph` cut, quantized since or not; None where there is none."""
    return unpacked({entry.key: entry.value for entry in model.proto.metadata_props}, str(model))


def unpacked(metadata: dict[str, str], name: str) -> Model | None:
    """The rest that a model's metadata hold; ValueError that calls the model `name` where it is damaged."""
    if REST not in metadata:
        return None
    try:
        return Model(onnx.ModelProto.FromString(zlib.decompress(base64.b64decode(metadata[REST]))))
    except Exception:
        raise ValueError(f"{name}: its metadata '{REST}' are damaged; make the file again.") from None


def _ancestors(model: Model, tensors: Iterable[str], stop: Iterable[str] = ()) -> dict[str, onnx.NodeProto]:
    """{first output: node} of the nodes that `tensors` come from, nothing before those in `stop`."""
    stop, todo, found = set(stop), list(tensors), dict[str, onnx.NodeProto]()
    while todo:
        tensor = todo.pop()
        node = model.producers.get(tensor)
        if node is not None and tensor not in stop and node.output[0] not in found:
            found[node.output[0]] = node
            todo += node.input
    return found
