"""One picture, one claim: each function returns a Matplotlib Figure whose title says what it shows."""

from helpers.plot.accuracy import ap_bars, intervals, output_error, pareto_front, recipe_steps
from helpers.plot.arithmetic import accumulators, lsb_histogram, near_half, pipeline
from helpers.plot.boxes import box_shift, detections, overlay, scores, side_bins, threshold_crossings
from helpers.plot.classes import class_bars, masks
from helpers.plot.codes import code_counts, code_map
from helpers.plot.network import block, noise_by_size, placement, roofline, roundings, sqnr_by_depth
from helpers.plot.pictures import pictures
from helpers.plot.proof import proof
from helpers.plot.stages import stage, stages
from helpers.plot.style import BLUE, GREEN, GREY, LITERAL, ORANGE, PURPLE, RED, SKY, new_figure, save, stack_figures
from helpers.plot.tensor import channels, method_colour, range_convergence, ranges, staircase, tradeoff
