"""What 4-bit weights cost data/'s model and what each repair gives back: data/scenes_w4.json.

    INT8_ASSETS= python tests/benchmarks/w4.py

Ranges and repairs see 32 calibration scenes, the 64 first validation scenes judge, on the CPU, graph as written.
Each step has its AP and the boxes above 0.25 on the crowded scene: of the scenes on which every repair takes back some
of the boxes that 4 bits to nearest add, the one with the most added (`assets.crowded_scene` names it).
"""

import sys
import tempfile
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers import assets, calibrate, qdq, repair, vision
from helpers.graph import save_json

JUDGED = 64


def steps(work: Path) -> dict[str, Path]:
    """{step: its model}, from FP32 through 4 bits and each repair to 8 bits."""
    fp32 = qdq.split_head(assets.model(), work / "fp32.onnx")
    feeds = list(vision.Feeds(assets.images("calibration")[:32], fp32))
    ranges = calibrate.ranges(calibrate.observe(fp32, feeds), "mse")
    nearest = qdq.quantize_model(fp32, work / "nearest.onnx", ranges, weight="int4")
    fitted = repair.fit_weight_scales(fp32, nearest, feeds, work / "fitted.onnx")
    made = {
        "FP32": fp32,
        "W4, to nearest": nearest,
        "W4, biases corrected": repair.correct_bias(fp32, nearest, feeds, work / "bias.onnx"),
        "W4, scales fitted": fitted,
        "W4, rounded with inputs in view": repair.round_adaptively(fp32, fitted, feeds, work / "rounded.onnx"),
    }
    repair.quantize_best(fp32, vision.Feeds(assets.images("calibration"), fp32), work / "best.onnx", weight="int4")
    made["W4, recipe best"] = work / "best.onnx"
    made["W8, to nearest"] = qdq.quantize_model(fp32, work / "int8.onnx", ranges)
    return made


def boxes(model: Path, pictures: list[Path]) -> list[int]:
    """Boxes above 0.25 of each picture."""
    detector = vision.Detector(model)
    return [len(detector.detect(picture)[1]) for picture in pictures]


REPAIRS = ("W4, to nearest", "W4, biases corrected", "W4, scales fitted", "W4, rounded with inputs in view")


def crowded(counts: dict[str, list[int]]) -> int:
    """Index of the scene with the most boxes added by 4 bits, of those where each repair takes some back."""
    falls = [k for k in range(JUDGED) if all(counts[a][k] > counts[b][k] for a, b in pairwise(REPAIRS))]
    return max(falls, key=lambda k: counts[REPAIRS[0]][k] - counts["FP32"][k])


def main() -> None:
    pictures = assets.images("validation")[:JUDGED]
    with tempfile.TemporaryDirectory() as work:
        made = steps(Path(work))
        counts = {step: boxes(path, pictures) for step, path in made.items()}
        k = crowded(counts)
        rows = []
        for step, path in made.items():
            found = vision.evaluate(path, pictures)["AP50-95"]
            row = {"step": step, "ap": round(found, 4), "boxes": counts[step][k], "bytes": path.stat().st_size}
            rows.append(row)
            print(row, flush=True)
    about = {"judged": JUDGED, "scene": pictures[k].name, "target": "cpu", "steps": rows}
    print(save_json(about, assets.DATA / "scenes_w4.json"), pictures[k].name)


if __name__ == "__main__":
    main()
