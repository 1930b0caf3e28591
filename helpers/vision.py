"""The face of `tasks` and `boxes` that notebooks use: from pictures to boxes and scores."""

from helpers.assets import open_image
from helpers.boxes import (
    average_precision,
    average_precision_interval,
    box_iou,
    match,
    nms,
    paired_boxes,
    paired_metrics,
)
from helpers.tasks import Detector, class_scores, decode, evaluate, labels
from helpers.tasks.feeds import Feeds, letterbox

open_picture = open_image  # its name until 2026
