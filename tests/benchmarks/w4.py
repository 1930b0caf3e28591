"""What 4-bit weights cost data/'s model and what each repair gives back: data/scenes_w4.json.

    INT8_ASSETS= python tests/benchmarks/w4.py

Ranges and repairs see 32 calibration scenes, the 64 first validation scenes judge, on the CPU, graph as written.
Each step has its AP and the boxes above 0.25 on the crowded scene: the one on which 4 bits to nearest are furthest
from FP32's number of boxes, of scenes with at least six.
"""

import sys
import tempfile
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


def main() -> None:
    pictures = assets.images("validation")[:JUDGED]
    with tempfile.TemporaryDirectory() as work:
        made = steps(Path(work))
        counts = {step: boxes(path, pictures) for step, path in made.items()}
        gained = [b - a if a >= 6 else 0 for a, b in zip(counts["FP32"], counts["W4, to nearest"], strict=True)]
        k = max(range(JUDGED), key=lambda k: abs(gained[k]))
        rows = []
        for step, path in made.items():
            found = vision.evaluate(path, pictures)["AP50-95"]
            row = {"step": step, "ap": round(found, 4), "boxes": counts[step][k], "bytes": path.stat().st_size}
            rows.append(row)
            print(row, flush=True)
    about = {"judged": JUDGED, "scene": pictures[k].name, "target": "cpu", "steps": rows}
    print(save_json(about, assets.DATA / "scenes_w4.json"), pictures[k].name)
    print({p.name: [c[i] for c in counts.values()] for i, p in enumerate(pictures) if abs(gained[i]) >= 3})


if __name__ == "__main__":
    main()
