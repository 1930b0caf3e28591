"""Calibration against ONNX Runtime's, on YOLOv8n at 640 and COCO128 pictures, as a table for RESULTS.md.

    python tests/benchmarks/calibrate.py [--repeat 5] [--accuracy] [--long]

Every job is a process of its own that reads its pictures from disk; the jobs take turns, so that what disturbs
the machine disturbs all of them. Time starts after the imports and includes opening sessions. Memory is the
process's peak. `--accuracy` adds the AP of A8W8 models from sampled and from all values (about 10 minutes).
`--long` only asks whether long runs stay linear and flat: 60 small tensors, 500 to 10,000 feeds.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers import assets, calibrate, qdq, vision


def inference(model, pictures):
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for feed in vision.Feeds(pictures, model):
        session.run(None, feed)


def ours(model, pictures):
    histograms = calibrate.observe(model, vision.Feeds(pictures, model)).values()
    return [method(h) for method in calibrate.METHODS.values() for h in histograms]


def theirs(method):
    def job(model, pictures):
        from onnxruntime.quantization import CalibrationMethod, create_calibrator

        with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
            calibrator = create_calibrator(model, None, f"{work}/augmented.onnx", CalibrationMethod[method])
            reader = SimpleNamespace(get_next=partial(next, iter(vision.Feeds(pictures, model)), None))
            calibrator.collect_data(reader)
            calibrator.compute_data()

    return job


JOBS = {"FP32 inference alone": inference, "ours, five methods": ours, "ORT MinMax": theirs("MinMax"),
        "ORT Entropy": theirs("Entropy")}  # fmt: skip


def one(name: str, count: int) -> None:
    """Run one job and print its seconds and the process's peak memory, MB (Linux)."""
    import resource

    import onnxruntime.quantization  # noqa: F401  its import is not part of anybody's time

    model, pictures = assets.model("yolov8n"), assets.images("coco128")[:count]
    start = time.perf_counter()
    JOBS[name](model, pictures)
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))


def run(name: str, count: int = 32) -> list[float]:
    command = [sys.executable, __file__, "--job", name, "--count", str(count)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


def long(count: int) -> None:
    """Observe `count` feeds of 16 floats through 60 Relus; print the CPU seconds and the process's peak, MB (Linux)."""
    import resource

    import onnx.parser

    chain = " ".join(f"t{k + 1} = Relu(t{k})" for k in range(59))
    text = f'<ir_version: 8, opset_import: ["": 17]> g (float[16] t0) => (float[16] t59) {{ {chain} }}'
    with tempfile.TemporaryDirectory() as work:
        onnx.save(onnx.parser.parse_model(text), path := Path(work) / "chain.onnx")
        random, start = np.random.default_rng(0), time.process_time()
        calibrate.observe(path, ({"t0": random.standard_normal(16, np.float32)} for _ in range(count)))
    seconds = time.process_time() - start
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))


def spread(values, unit: str, digits: int = 1) -> str:
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}–{high:.{digits}f})"


def search() -> None:
    """A threshold search at 2048 bins, tensor by tensor: ONNX Runtime's entropy against each of ours."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    model = assets.model("yolov8n")
    histograms = calibrate.observe(model, vision.Feeds(assets.images("coco128")[:4], model))
    collector = HistogramCollector("entropy", False, 2048, 128, 99.999, "same")
    took = {"ORT": [], **{name: [] for name in calibrate.METHODS}}
    for h in [h for tensor, h in histograms.items() if tensor.endswith("Mul_output_0")][:12]:
        end = max(-h.min, h.max)
        edges = np.linspace(-end, end, 2049, dtype=np.float32)
        counts = np.histogram((h.edges[1:] + h.edges[:-1]) / 2, edges, weights=h.counts)[0].astype(np.int64)
        start = time.perf_counter()
        collector.get_entropy_threshold((counts, edges, np.float32(h.min), np.float32(h.max), end), 128)
        took["ORT"].append(time.perf_counter() - start)
        for name, method in calibrate.METHODS.items():
            start = time.perf_counter()
            method(h)
            took[name].append(time.perf_counter() - start)
    for name, seconds in took.items():
        print(f"| threshold search, {name} | {spread(np.array(seconds) * 1e3, 'ms a tensor', 2)} | "
              f"{np.median(took['ORT']) / np.median(seconds):.0f}× faster |")  # fmt: skip


def accuracy() -> None:
    """AP on 96 pictures of models whose ranges come from the 32 others: counts from a sample, and from every value."""
    pictures = assets.images("coco128")
    with tempfile.TemporaryDirectory() as work:
        cut = qdq.split_head(assets.model("yolov8n"), Path(work) / "fp32.onnx")
        seen = [calibrate.observe(cut, vision.Feeds(pictures[:32], cut), sample=s) for s in (8192, None)]
        for method in calibrate.METHODS:
            ap = []
            for histograms in seen:
                path = qdq.quantize_model(cut, Path(work) / "int8.onnx", calibrate.ranges(histograms, method))
                ap.append(vision.evaluate(path, pictures[32:])["AP50-95"])
            print(f"| AP50-95, {method} | {ap[0]:.4f} sampled, {ap[1]:.4f} all | {ap[0] - ap[1]:+.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--job", choices=[*JOBS, "long"], help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=32, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.long:
        print("| feeds of 60 tensors | CPU ms a feed | peak memory |\n|---|---|---|")
        for count in (500, 2000, 10_000):
            seconds, memory = run("long", count)
            print(f"| {count:,} | {seconds / count * 1e3:.1f} | {memory:.0f} MB |", flush=True)
        return None
    if args.job == "long":
        return long(args.count)
    if args.job:
        return one(args.job, args.count)
    runs = {name: [] for name in JOBS}
    for _ in range(args.repeat):
        for name in JOBS:
            runs[name].append(run(name))
            print(f"{name}: {runs[name][-1][0]:.1f} s", file=sys.stderr)
    print("| 32 pictures | time, median (min–max) | ÷ inference | ÷ ours | peak memory |\n|---|---|---|---|---|")
    for name, results in runs.items():
        seconds, memory = np.array(results).T
        ratios = [seconds / np.array(runs[other])[:, 0] for other in ("FP32 inference alone", "ours, five methods")]
        print(f"| {name} | {spread(seconds, 's')} | {spread(ratios[0], '×', 2)} | {spread(ratios[1], '×')} | "
              f"{np.median(memory):.0f} MB |")  # fmt: skip
    print(f"| ours, 128 pictures | {(last := run('ours, five methods', 128))[0]:.1f} s | | | {last[1]:.0f} MB |\n")
    print("| | | |\n|---|---|---|")
    search()
    if args.accuracy:
        accuracy()


if __name__ == "__main__":
    main()
