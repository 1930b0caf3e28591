"""What a model is for: inputs in, results out."""

from helpers.tasks.detection import Detector, class_scores, decode, evaluate, labels
from helpers.tasks.feeds import Feeds, letterbox, picture_input
from helpers.tasks.head_drift import Drift, drift_against, head_drift, outputs, reference_outputs
from helpers.tasks.yolo_head import head_convs, split_head

__all__ = [
    "Detector",
    "Drift",
    "Feeds",
    "class_scores",
    "decode",
    "drift_against",
    "evaluate",
    "head_convs",
    "head_drift",
    "labels",
    "letterbox",
    "outputs",
    "picture_input",
    "reference_outputs",
    "split_head",
]
