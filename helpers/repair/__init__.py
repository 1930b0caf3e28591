"""Getting accuracy back: ranges that know what follows, weights rounded with inputs in view, a few 16-bit tensors."""

from helpers.repair.equalize import channel_maxima, equalize
from helpers.repair.functions import FunctionBlock, function_blocks
from helpers.repair.moments import input_moments
from helpers.repair.ranges import FunctionalRanges, functional_ranges, silu_blocks, silu_range
from helpers.repair.recipe import quantize_best
from helpers.repair.report import write_report
from helpers.repair.rounding import correct_bias, fit_weight_scales, round_adaptively
from helpers.repair.rows import CODES, round_rows
from helpers.repair.search import search_a16

best = quantize_best  # its name until 2026
__all__ = [
    "CODES",
    "FunctionBlock",
    "FunctionalRanges",
    "best",
    "channel_maxima",
    "correct_bias",
    "equalize",
    "fit_weight_scales",
    "function_blocks",
    "functional_ranges",
    "input_moments",
    "quantize_best",
    "round_adaptively",
    "round_rows",
    "search_a16",
    "silu_blocks",
    "silu_range",
    "write_report",
]
