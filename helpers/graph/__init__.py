"""An ONNX model as one object: its nodes and tensors, its files, its scales, its cost."""

from helpers.graph.channel_bounds import with_channel_bounds
from helpers.graph.files import (
    StrPath,
    is_large,
    read_model,
    refuse_overwrite,
    save_json,
    save_model,
    sha256,
    size_text,
    write_large,
    written_whole,
)
from helpers.graph.model import QDQ, Feed, Model, ModelLike, constants, float_model, float_name, reads
from helpers.graph.qparams import Group, fused_groups, list_qparams, shared_scale
from helpers.graph.split import rest_of, split_graph
