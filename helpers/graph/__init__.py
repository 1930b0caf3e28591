"""An ONNX model read: its files, its tensors' scales, its cost."""

from helpers.graph.files import constants, float_model, is_quantized, read_model, save_json, save_model, sha256
from helpers.graph.qparams import Group, float_name, fused_groups, list_qparams, shared_scale, sources

__all__ = [
    "Group",
    "constants",
    "float_model",
    "float_name",
    "fused_groups",
    "is_quantized",
    "list_qparams",
    "read_model",
    "save_json",
    "save_model",
    "sha256",
    "shared_scale",
    "sources",
]
