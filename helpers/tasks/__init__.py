"""What a model is for: inputs in, results out; a file a task, found by itself."""

from helpers.tasks.detection import evaluate, labels
from helpers.tasks.detector import Detector
from helpers.tasks.drift import Drift, drift_against, head_drift, outputs, reference_outputs
from helpers.tasks.feeds import Feeds, letterbox
from helpers.tasks.preprocessing import Preprocessing
from helpers.tasks.settle import settle, settled
from helpers.tasks.task import Task, Words, named, recognise, registry
from helpers.tasks.yolo_decode import class_scores, decode
from helpers.tasks.yolo_head import head_convs, split_head
