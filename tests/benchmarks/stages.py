"""The crowded scene chapter by chapter, with 4-bit weights: boxes there and AP over 64 scenes, into data/stages.json.

`python tests/benchmarks/stages.py [STAGE …]` (all: four minutes); plot.stages draws what it wrote, and a test holds
some of it. Stages that are not named keep what was measured of them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np

from helpers import assets, calibrate, graph, qdq, repair, vision
from helpers.affine import QParams, fake_quantize
from helpers.exercise.builds import attribution
from helpers.integer import htp_rounding

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


def largest_of_each(weight: np.ndarray) -> np.ndarray:
    """`to_nearest` of every output channel by itself."""
    return np.stack([to_nearest(channel) for channel in weight])


def one_filter_too_large(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A filter grown to 100 times its layer's largest weight; the next layer ignores it, so FP32 stays as it was.

    Filter 4 of model.3: of its 32 the one that the next layer hears least, 0.1 % of what it reads.
    """
    large, deaf = weights["model.3.conv.weight"].copy(), weights["model.4.cv1.conv.weight"].copy()
    large[4] *= 100 * np.abs(large).max() / np.abs(large[4]).max()
    deaf[:, 4] = 0
    return {**weights, "model.3.conv.weight": large, "model.4.cv1.conv.weight": deaf}


def stuck(histograms: dict) -> dict:
    """A value of 1000 in one picture at every activation function's output."""
    far = calibrate.Histogram().update([1000.0], feed=3)
    return {t: h + far if t.endswith("Mul_output_0") else h for t, h in histograms.items()}


def rounded_each_channel(weight: np.ndarray, top: int = 7) -> np.ndarray:
    """Every output channel to the nearest code, its largest weight at code `top`."""
    scale = np.abs(weight).max(tuple(range(1, weight.ndim)), keepdims=True) / top
    return np.rint(weight / scale) * scale


def mixed(fp32: Path, work: Path, choose: Callable[[dict, dict], list[str]]) -> tuple[Path, str]:
    """4 bits, but 8 for the layers that `choose` takes, given {layer: noise at the output} and {layer: weights}."""
    model = graph.Model.of(fp32)
    rounded = {name: rounded_each_channel(w) for name, w in model.weights.items()}
    run = qdq.weights_to_outputs(fp32, vision.Feeds(assets.images("calibration")[:2], fp32))
    alone = attribution.one_at_a_time(run, model.weights, rounded)
    noise = {name: 10 ** (-db / 10) for name, db in alone.items()}
    chosen = choose(noise, {name: w.size for name, w in model.weights.items()})
    finer = {name: rounded_each_channel(model.weights[name], 127) for name in chosen}
    return model.with_weights({**rounded, **finer}).save(work / "mixed.onnx"), "cpu"


def guiltiest(share: float) -> Callable[[dict, dict], list[str]]:
    """The layers with most noise for each weight, within a share of all weights."""
    return lambda noise, size: attribution.within_budget(noise, size, share * sum(size.values()))


def smallest(share: float) -> Callable[[dict, dict], list[str]]:
    """The smallest layers, within a share of all weights."""
    return lambda noise, size: guiltiest(share)(dict.fromkeys(noise, 1.0), size)


def least_guilty(noise: dict, size: dict) -> list[str]:
    """The 20 layers that hurt least."""
    return sorted(noise, key=lambda name: noise[name])[:20]


@contextmanager
def sums_in_16_bits() -> Iterator[None]:
    """Target `integer` with sums that keep their lowest 16 bits alone, as int16 does."""
    real = htp_rounding.htp_requantize

    def narrow(acc: np.ndarray, m: np.ndarray, e: np.ndarray, zero_point: int) -> np.ndarray:
        return real(acc.astype(np.int16).astype(np.int32), m, e, zero_point)

    with patch.object(htp_rounding, "htp_requantize", narrow):
        yield


AROUND = {"8 bits, sums in 16": sums_in_16_bits}  # {stage: in what its measurement runs}


def stages(work: Path) -> dict[str, Callable[[], tuple[Path, str]]]:
    """{stage: makes its model and gives (path, target)}."""
    fp32 = qdq.split_head(assets.model(), work / "fp32.onnx")
    model = graph.Model.of(fp32)
    histograms = calibrate.observe(fp32, vision.Feeds(assets.images("calibration")[:32], fp32))

    def weights(change: Callable[[np.ndarray], np.ndarray], large: bool = False) -> tuple[Path, str]:
        old = one_filter_too_large(model.weights) if large else model.weights
        changed = {name: change(array) for name, array in old.items()}
        return model.with_weights(changed).save(work / "weights.onnx"), "cpu"

    def w4a8(found: dict, method: str, target: str = "cpu") -> tuple[Path, str]:
        ranges = calibrate.ranges(found, method)
        return qdq.quantize_model(fp32, work / "w4a8.onnx", ranges, weight="int4"), target

    def w8a8(target: str) -> tuple[Path, str]:
        return qdq.quantize_model(fp32, work / "w8a8.onnx", calibrate.ranges(histograms, "percentile")), target

    def whole() -> tuple[Path, str]:
        seen = calibrate.observe(assets.model(), vision.Feeds(assets.images("calibration")[:8], assets.model()))
        out = work / "whole.onnx"
        return qdq.quantize_model(assets.model(), out, calibrate.ranges(seen, "minmax"), weight="int4"), "cpu"

    few = list(vision.Feeds(assets.images("calibration")[:32], fp32))

    def repaired(*repairs: Callable) -> tuple[Path, str]:
        path, _ = w4a8(histograms, "mse")
        for repair_one in repairs:
            path = repair_one(fp32, path, few, work / f"{repair_one.__name__}.onnx")
        return path, "cpu"

    def best(weight: str, target: str = "cpu") -> tuple[Path, str]:
        feeds = vision.Feeds(assets.images("calibration"), fp32)
        repair.quantize_best(fp32, feeds, work / f"best_{weight}.onnx", weight=weight)
        return work / f"best_{weight}.onnx", target

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
        "largest of each channel": lambda: weights(largest_of_each),
        "one filter too large, FP32": lambda: weights(np.copy, large=True),
        "one filter too large": lambda: weights(least_error, large=True),
        "too large, on its own scale": lambda: weights(each_channel, large=True),
        "8 bits, sums in 16": lambda: w8a8("integer"),
        "8 bits, sums in 32": lambda: w8a8("integer"),
        "8 bits on the CPU": lambda: w8a8("cpu"),
        "8 bits on the HTP": lambda: w8a8("htp"),
        "4 bits": lambda: weights(rounded_each_channel),
        "4 bits, 20 others in 8": lambda: mixed(fp32, work, least_guilty),
        "4 bits, the guilty in 8": lambda: mixed(fp32, work, guiltiest(0.05)),
        "4 bits, the smallest in 8": lambda: mixed(fp32, work, smallest(0.05)),
        "4 bits, 2 % guilty in 8": lambda: mixed(fp32, work, guiltiest(0.02)),
        "4 bits, 2 % smallest in 8": lambda: mixed(fp32, work, smallest(0.02)),
        "W4A8 to nearest": lambda: w4a8(histograms, "mse"),
        "biases corrected": lambda: repaired(repair.correct_bias),
        "scales fitted": lambda: repaired(repair.fit_weight_scales),
        "rounded with inputs in view": lambda: repaired(repair.fit_weight_scales, repair.round_adaptively),
        "recipe best, W4A8": lambda: best("int4"),
        "A8W8 to nearest": lambda: (qdq.quantize_model(fp32, work / "a8w8.onnx", calibrate.ranges(histograms)), "cpu"),
        "recipe best, A8W8": lambda: best("int8"),
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
    """Measure the named stages, or all, and write data/stages.json."""
    out = assets.DATA / "stages.json"
    kept = json.loads(out.read_text(encoding="utf-8"))["stages"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in stages(Path(folder)).items():
            if not names or name in names:
                with AROUND.get(name, nullcontext)():
                    kept[name] = measure(*make())
                print(f"{name}: AP {kept[name]['ap']}, {len(kept[name]['boxes'])} boxes")
            if name in kept:
                found[name] = kept[name]
    out.write_text(json.dumps({"scene": SCENE, "stages": found}, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
