"""YOLOv8's raw outputs as boxes and scores: scores by sigmoid, the sides of boxes by DFL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.boxes import Detections
from helpers.graph.activations import sigmoid
from helpers.tasks.feeds import Size, height_width


def dfl_sides(logits: np.ndarray) -> np.ndarray:
    """Distances to a box's sides (left, top, right, bottom) in cells, places × 4, from DFL logits 4R × places.

    A side is Σ i·softmax(logits)ᵢ, i = 0 … R − 1. Source: Li et al., "Generalized Focal Loss", 2020.

    >>> dfl_sides(np.zeros((4 * 3, 1)))
    array([[1., 1., 1., 1.]])
    """
    x = logits.reshape(4, len(logits) // 4, logits.shape[1]).astype(np.float64)
    x = np.exp(x - x.max(1, keepdims=True))
    return ((x * np.arange(x.shape[1])[:, None]).sum(1) / x.sum(1)).T


def decode(outputs: Sequence[np.ndarray], size: Size, conf: float) -> Detections:
    """YOLOv8's raw outputs to candidates above `conf`: `(xyxy px of the input, scores, classes)`.

    Cut graphs give (1×4R×H×W, 1×C×H×W) per stride: a side's distance is `dfl_sides` · stride, a score is σ(logit).
    The whole graph gives one 1×(4+C)×N of boxes and scores. `size` is the input's (height, width), or the side of a
    square.

    >>> xyxy, scores, classes = decode([np.zeros((1, 12, 1, 1)), np.zeros((1, 1, 1, 1))], 8, 0.25)
    >>> xyxy.tolist(), scores.tolist(), classes.tolist()
    ([[-4.0, -4.0, 12.0, 12.0]], [0.5], [0])
    """
    if len(outputs) == 1:
        return _decode_whole(outputs[0][0], conf)
    parts = [_decode_stride(*pair, size, conf) for pair in zip(outputs[::2], outputs[1::2], strict=True)]
    boxes, scores, classes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return boxes, scores, classes


def _decode_whole(output: np.ndarray, conf: float) -> Detections:
    cxcywh, probability = output[:4].T, output[4:]
    classes, places = np.nonzero(probability > conf)
    centre, half = cxcywh[places, :2], cxcywh[places, 2:] / 2
    return np.concatenate([centre - half, centre + half], 1), probability[classes, places], classes


def _decode_stride(box: np.ndarray, logit: np.ndarray, size: Size, conf: float) -> Detections:
    high, wide = height_width(size)
    stride = np.tile([wide / box.shape[3], high / box.shape[2]], 2)
    threshold = np.log(conf / (1 - conf)) if conf > 0 else -np.inf
    classes, y, x = np.nonzero(logit[0] > threshold)
    sides = dfl_sides(box[0][:, y, x])
    centre = np.stack([x, y], 1) + 0.5
    xyxy = np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], 1) * stride
    return xyxy, sigmoid(logit[0, classes, y, x]), classes


def class_scores(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of every class at every place, classes × places in 0…1, from a whole or a cut graph's outputs.

    >>> class_scores([np.zeros((1, 64, 2, 2)), np.zeros((1, 3, 2, 2))]).shape
    (3, 4)
    """
    if len(outputs) == 1:
        return outputs[0][0, 4:]
    logits = np.concatenate([o[0].reshape(o.shape[1], -1) for o in outputs[1::2]], 1)
    return sigmoid(logits)
