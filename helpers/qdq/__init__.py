"""The QDQ graph: where the compiler may compute in integers, with which scales, and which layer is guilty."""

from helpers.graph import Group, float_name, fused_groups, list_qparams
from helpers.qdq.assemble import assemble
from helpers.qdq.attribution import activation, layer_sqnr
from helpers.qdq.choose import AUTO, choose_method
from helpers.qdq.edit import expose, set_range
from helpers.qdq.htp_faults import HtpFault, htp_faults
from helpers.qdq.input_shapes import parse_shape
from helpers.qdq.mixed_scales import MixedScale, SplitScales, mixed_scales, split_scales
from helpers.qdq.pipeline import Quantized, calibrate_and_quantize
from helpers.qdq.preflight import Preflight, check
from helpers.qdq.preparation import Prepared, prepare
from helpers.qdq.quantize import quantize_model
from helpers.qdq.rounding_gap import rounding_gap
from helpers.qdq.weight_runs import weights_to_outputs
from helpers.tasks import head_convs, split_head

__all__ = [
    "AUTO",
    "Group",
    "HtpFault",
    "MixedScale",
    "Preflight",
    "Prepared",
    "Quantized",
    "SplitScales",
    "activation",
    "assemble",
    "calibrate_and_quantize",
    "check",
    "choose_method",
    "expose",
    "float_name",
    "fused_groups",
    "head_convs",
    "htp_faults",
    "layer_sqnr",
    "list_qparams",
    "mixed_scales",
    "parse_shape",
    "prepare",
    "quantize_model",
    "rounding_gap",
    "set_range",
    "split_head",
    "split_scales",
    "weights_to_outputs",
]
