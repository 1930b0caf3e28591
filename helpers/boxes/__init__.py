"""Boxes against boxes; knows no model."""

from helpers.boxes.overlap import Detections, Truth, above, box_iou, match, nms, rotated_iou
from helpers.boxes.paired import paired_boxes, paired_metrics
from helpers.boxes.precision import (
    Interval,
    average_precision,
    average_precision_interval,
    average_precision_samples,
    interval,
    resampled,
)
