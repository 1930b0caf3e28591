"""Ten layers each of three networks, for tests/calibrate/test_entropy.py: entropy against the published search.

    INT8_ASSETS=<folder with yolov8n.pt> python tests/benchmarks/entropy.py <text detector.onnx> [--write]

The text detector is PP-OCRv4's, `ch_PP-OCRv4_det_infer.onnx` of the package rapidocr-onnxruntime 1.4.4 (Apache-2.0).
All three see four of data/'s validation scenes. `--write` keeps the counts in tests/calibrate/entropy_layers.npz:
numbers only, no weights. The layers are those of 20 000 values or more, less what a Sigmoid or a Clip bounds, evenly
spaced.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[1] / "calibrate"))
sys.path.insert(0, str(Path(__file__).parents[2]))
from published import LAYERS, agreement, published

from helpers import assets, calibrate, qdq, vision

PICTURES = assets.images("validation")[::32]
KEPT = "Conv Mul Add Relu Concat Split Resize Div ConvTranspose".split()


def text_detector(path, work: Path):
    """(path, feeds) of the text detector at 1×3×320×320, pixels in −1…1."""
    model = onnx.load(path)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 320, 320), strict=True):
        dim.Clear()
        dim.dim_value = size
    onnx.save(model, work / "text.onnx")
    name = model.graph.input[0].name
    return work / "text.onnx", [{name: vision.letterbox(p, 320)[0] * 2 - 1} for p in PICTURES]


def detector(path, work: Path):
    cut = qdq.split_head(path, work / f"{Path(path).stem}_cut.onnx")
    return cut, list(vision.Feeds(PICTURES, cut))


def layers(path, feeds):
    """Yield (tensor, Histogram of all values, counts of |x| in 2048 uniform bins)."""
    model = onnx.load(path)
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    histograms = calibrate.observe(path, feeds, sample=None)
    names = [name for name, h in histograms.items() if kinds.get(name) in KEPT and h.n >= 20_000]
    names = [names[i] for i in np.linspace(0, len(names) - 1, 10).astype(int)]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    seen = [session.run(names, feed) for feed in feeds]
    for name, values in zip(names, zip(*seen, strict=True), strict=True):
        h, x = histograms[name], np.abs(np.concatenate([v.ravel() for v in values]).astype(np.float64))
        top = max(-h.min, h.max)
        yield name, h, np.histogram(np.minimum(x, top), 2048, (0, top))[0]  # another session's last bit is its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="ch_PP-OCRv4_det_infer.onnx")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    kept = {}
    print("| layer | min … max | published T, dB | entropy, dB | minmax, dB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        networks = {
            "scenes": detector(assets.model(), work),
            "yolov8n": detector(assets.model("yolov8n"), work),
            "text": text_detector(args.text, work),
        }
        for network, (path, feeds) in networks.items():
            for name, h, counts in layers(path, feeds):
                k, filled = int(np.log2(h.width)), h.counts > 0
                index, own = (h.edges[:-1][filled] / h.width).astype(np.int64), h.counts[filled]
                key = f"{network} {name.strip('/')}".replace("/", ".")
                kept |= {f"{key}|gaps": np.diff(index, prepend=0).astype(np.int32), f"{key}|own": own.astype(np.uint32)}
                kept |= {f"{key}|x": counts.astype(np.uint32), f"{key}|grid": np.array([k, h.min, h.max])}
                found, (_, theirs, ours, whole) = calibrate.entropy(h), agreement(h, counts)
                end = published(counts)[0] / 2048 * max(-h.min, h.max)
                print(f"| {key} | {h.min:.2f} … {h.max:.2f} | {end:.2f}, {theirs:.1f} |", end=" ")
                print(f"{max(-found[0], found[1]):.2f}, {ours:.1f} | {whole:.1f} |")
    if args.write:
        np.savez_compressed(LAYERS, **kept)
        print(f"{LAYERS.name}: {LAYERS.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
