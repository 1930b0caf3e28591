"""What INT8 costs YOLOv8n, recipe by recipe, as a table for the README.

    INT8_ASSETS=<folder with yolov8n and coco128/> python tests/benchmarks/accuracy.py [--judge 64] [--htp 0]

All recipes calibrate on pictures from the end of COCO128 and are judged on its first ones, none in both. Peers are
ONNX Runtime's QNN configuration as it comes (per-tensor weights, asymmetric) with its own calibrators; with 16-bit
activations and MinMax it is what ultralytics' QNN export does. `--htp N` adds the emulated HTP on N pictures (4 to
12 s each). Agreement: AP50-95 against FP32's own boxes above 0.25; intervals are 95 % bootstraps over pictures.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnx

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers import assets, calibrate, qdq, repair, vision


def peer(model, out, pictures, method, activation="QUInt8"):
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    reader = SimpleNamespace(get_next=partial(next, iter(vision.Feeds(pictures, model)), None))
    with contextlib.redirect_stdout(io.StringIO()):
        config = get_qnn_qdq_config(
            model, reader, calibrate_method=CalibrationMethod[method], activation_type=QuantType[activation]
        )
        quantize(str(model), str(out), config)
    return out


def ours(model, out, pictures, method):
    histograms = calibrate.observe(model, vision.Feeds(pictures, model))
    return qdq.quantize_model(model, out, {t: method(h) for t, h in histograms.items()})


def best(model, out, pictures):
    repair.best(model, vision.Feeds(pictures, model), out)
    return out


def detect(path, pictures, target="cpu"):
    detector = vision.Detector(path, target)
    return [detector.detect(p, conf=0.001) for p in pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", type=int, default=64)
    parser.add_argument("--htp", type=int, default=0)
    args = parser.parse_args()
    whole, pictures = assets.model("yolov8n"), assets.images("coco128")
    judging, calibration = pictures[: args.judge], pictures[-64:]
    truths = [vision.labels(p) for p in judging]
    with tempfile.TemporaryDirectory() as work:
        cut = qdq.split_head(whole, Path(work) / "cut.onnx")
        few = calibration[-32:]
        recipes = {
            "ORT as it comes, MinMax": partial(peer, whole, pictures=few, method="MinMax"),
            "ORT, head cut, MinMax (ultralytics' recipe in 8 bits)": partial(peer, cut, pictures=few, method="MinMax"),
            "ORT, head cut, Percentile": partial(peer, cut, pictures=few, method="Percentile"),
            "ORT, head cut, Entropy": partial(peer, cut, pictures=few, method="Entropy"),
            "ultralytics' recipe, A16W8": partial(peer, cut, pictures=few, method="MinMax", activation="QUInt16"),
            "ours, percentile 99.99": partial(ours, cut, pictures=few, method=calibrate.percentile),
            "ours, mse": partial(ours, cut, pictures=few, method=calibrate.mse),
            "**ours, recipe best**": partial(best, cut, pictures=calibration),
        }
        reference = detect(cut, judging)
        ap = vision.average_precision(reference, truths)["AP50-95"]
        print("| recipe | 16-bit tensors | MB | AP50-95, CPU | lost against FP32 | agreement | HTP: AP, agreement |")
        print("|---|---|---|---|---|---|---|")
        print(f"| FP32 | | {cut.stat().st_size / 1e6:.1f} | {ap:.4f} | | | |", flush=True)
        for k, (name, recipe) in enumerate(recipes.items()):
            path = recipe(out=Path(work) / f"{k}.onnx")
            found = detect(path, judging)
            dtypes = [p.dtype for p in qdq.list_qparams(onnx.load(path)).values()]
            m = vision.paired_metrics(reference, found, truths)
            htp = ""
            if args.htp:
                few_found = detect(path, judging[: args.htp], "htp")
                h = vision.paired_metrics(reference[: args.htp], few_found, truths[: args.htp])
                htp = f"{h['ap'].value:.3f} (FP32 {h['ap'].value + h['ap_drop'].value:.3f}), {h['agreement'].value:.3f}"
            print(
                f"| {name} | {dtypes.count('uint16')} | {path.stat().st_size / 1e6:.1f} | {m['ap'].value:.4f} | "
                f"{m['ap_drop']} | {m['agreement']} | {htp} |", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
