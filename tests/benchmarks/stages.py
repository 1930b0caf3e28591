"""The crowded scene chapter by chapter, with 4-bit weights: boxes there and AP over 64 scenes, into data/stages.json.

`python tests/benchmarks/stages.py [STAGE …]` (all: two minutes); plot.stages draws them, a test holds some of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import assets, calibrate, graph, qdq, vision
from helpers.affine import QParams, fake_quantize

SCENE = "2000026"  # of 64 scenes the one where rounding weights to 4 bits adds most boxes: 14 become 21
PICTURES = assets.images("validation")[:64]


def truncated(weight: np.ndarray) -> np.ndarray:
    """One scale, the fraction cut off instead of rounded."""
    scale = np.abs(weight).max() / 7
    return np.trunc(weight / scale) * scale


def to_nearest(weight: np.ndarray) -> np.ndarray:
    """One scale, the largest weight at code 7, rounded to the nearest code."""
    return fake_quantize(weight, QParams(np.abs(weight).max() / 7, 0, "int4"))


def least_error(weight: np.ndarray) -> np.ndarray:
    """One scale with the least squared error of 36, from 0.3 of the largest weight on."""
    tops = np.abs(weight).max() * np.linspace(0.3, 1, 36)
    tried = [fake_quantize(weight, QParams(top / 7, 0, "int4")) for top in tops]
    return min(tried, key=lambda y: float(np.mean((weight - y) ** 2)))


def each_channel(weight: np.ndarray) -> np.ndarray:
    """`least_error` of every output channel by itself."""
    return np.stack([least_error(channel) for channel in weight])


def stuck(histograms: dict) -> dict:
    """A value of 1000 in one picture at every activation function's output."""
    far = calibrate.Histogram().update([1000.0], feed=3)
    return {t: h + far if t.endswith("Mul_output_0") else h for t, h in histograms.items()}


def stages(work: Path) -> dict[str, Callable[[], tuple[Path, str]]]:
    """{stage: makes its model and gives (path, target)}."""
    fp32 = qdq.split_head(assets.model(), work / "fp32.onnx")
    model = graph.Model.of(fp32)
    histograms = calibrate.observe(fp32, vision.Feeds(assets.images("calibration")[:32], fp32))

    def weights(change: Callable[[np.ndarray], np.ndarray]) -> tuple[Path, str]:
        changed = {name: change(array) for name, array in model.weights.items()}
        return model.with_weights(changed).save(work / "weights.onnx"), "cpu"

    def w4a8(found: dict, method: str, target: str = "cpu") -> tuple[Path, str]:
        ranges = calibrate.ranges(found, method)
        return qdq.quantize_model(fp32, work / "w4a8.onnx", ranges, weight="int4"), target

    def whole() -> tuple[Path, str]:
        seen = calibrate.observe(assets.model(), vision.Feeds(assets.images("calibration")[:8], assets.model()))
        out = work / "whole.onnx"
        return qdq.quantize_model(assets.model(), out, calibrate.ranges(seen, "minmax"), weight="int4"), "cpu"

    return {
        "FP32": lambda: (fp32, "cpu"),
        "cut off": lambda: weights(truncated),
        "to nearest": lambda: weights(to_nearest),
        "least error": lambda: weights(least_error),
        "a scale for each channel": lambda: weights(each_channel),
        "stuck at 1000, minmax": lambda: w4a8(stuck(histograms), "minmax"),
        "stuck at 1000, percentile": lambda: w4a8(stuck(histograms), "percentile"),
        "boxes and scores under one scale": whole,
        "head cut": lambda: w4a8(histograms, "percentile"),
        "stuck at 1000, mse": lambda: w4a8(stuck(histograms), "mse"),
    }


def measure(path: Path, target: str) -> dict:
    """AP over the 64 scenes, and the crowded scene's boxes from 0.25 on as [x0, y0, x1, y1, score, class]."""
    scene = next(p for p in PICTURES if p.stem == SCENE)
    xyxy, scores, classes = vision.Detector(path, target).detect(scene)
    boxes = [
        [*map(float, b.round(1)), round(float(s), 3), int(c)] for b, s, c in zip(xyxy, scores, classes, strict=True)
    ]
    ap = vision.evaluate(path, PICTURES, target)["AP50-95"]
    return {"ap": round(ap, 3), "boxes": [box for box in boxes if box[4] >= 0.25]}


def main(names: list[str]) -> None:
    """Measure the named stages, or every one, and write them into data/stages.json."""
    out = assets.DATA / "stages.json"
    found = json.loads(out.read_text(encoding="utf-8"))["stages"] if names else {}
    with tempfile.TemporaryDirectory() as folder:
        made = stages(Path(folder))
        for name in names or made:
            found[name] = measure(*made[name]())
            print(f"{name}: AP {found[name]['ap']}, {len(found[name]['boxes'])} boxes")
    out.write_text(json.dumps({"scene": SCENE, "stages": found}, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
