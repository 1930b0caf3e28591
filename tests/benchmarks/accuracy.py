"""What INT8 costs YOLOv8n, recipe by recipe, as the tables of RESULTS.md.

    INT8_ASSETS=<folder with yolov8n and coco128/> python tests/benchmarks/accuracy.py [--judge 64] [--htp 64]

All recipes calibrate on pictures from the end of COCO128 and are judged on its first ones, none in both. Peers are
ONNX Runtime's QNN configuration as it comes (per-tensor weights, asymmetric) with its own calibrators; with 16-bit
activations and MinMax it is what ultralytics' QNN export does. HTP: its arithmetic on the first `--htp` pictures, of
our 8-bit graphs by `integer`, whose codes are the emulator's, of others by the emulator itself (4 to 12 s a picture;
all of it takes about an hour). `--json FILE` keeps the numbers for chapter 10, recipe by recipe. Agreement: AP50-95
against FP32's own boxes above 0.25; intervals are 95 % bootstraps over pictures.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers import assets, calibrate, qdq, repair, vision
from helpers.graph import Model


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
    return qdq.quantize_model(model, out, calibrate.ranges(histograms, method))


def best(model, out, pictures, **how):
    repair.quantize_best(model, vision.Feeds(pictures, model), out, **how)
    return out


def wide(model, out, pictures):
    feeds = list(vision.Feeds(pictures, model))
    ranges = calibrate.ranges(calibrate.observe(model, feeds), "minmax")
    qdq.quantize_model(model, out, ranges, activation="uint16")
    return repair.round_adaptively(model, out, feeds[::4], out)


def detect(path, pictures, target="cpu"):
    detector = vision.Detector(path, target)
    return [detector.detect(p, conf=0.001) for p in pictures]


def gap(work: Path) -> None:
    """The same A8W8 file, mse ranges of the last 32 pictures, on the other 96: the CPU's codes against the HTP's."""
    pictures = assets.images("coco128")
    judging, truths = pictures[:96], [vision.labels(p) for p in pictures[:96]]
    cut = qdq.split_head(assets.model("yolov8n"), work / "cut.onnx")
    path = ours(cut, work / "mse.onnx", pictures[96:], "mse")
    found = {target: detect(path, judging, target) for target in ("cpu", "integer")}
    reference = detect(cut, judging)
    for target, boxes in found.items():
        m = vision.paired_metrics(reference, boxes, truths)
        print(f"{target}: AP50-95 {m['ap']}, lost {m['ap_drop']}, agreement {m['agreement']}")
    m = vision.paired_metrics(found["cpu"], found["integer"], truths)
    print(f"CPU − HTP, paired: AP50-95 {m['ap_drop']}")


KEPT = ("ap_drop", "agreement", "iou_drift", "centre_shift", "jitter_abs", "flips", "lost", "new")
PAIRED = {
    "1 − IoU": ("iou_drift", ".3f"),
    "centre moved, px": ("centre_shift", ".2f"),
    "score moved": ("jitter_abs", ".3f"),
}
PAIRED |= {"lost": ("lost", ".1%"), "new": ("new", ".1%")}


def text(interval) -> str:
    value, low, high = (f"{round(v, 3) + 0.0:.3f}".replace("-", "−") for v in interval)
    return f"{value} ({low} … {high})"


def tables(rows: dict) -> str:
    """AP and agreement first, then what the HTP does to single boxes."""
    one = ["| | 16-bit tensors | MB | AP50-95 lost, CPU | agreement, CPU | AP50-95 lost, HTP | agreement, HTP |"]
    two = [f"| boxes against FP32's, on the HTP | {' | '.join(PAIRED)} |"]
    one.append("|---" * 7 + "|")
    two.append("|---" * (1 + len(PAIRED)) + "|")
    for name, r in rows.items():
        measured = [
            text(r[key]) if key in r else "" for key in ("ap_drop", "agreement", "htp_ap_drop", "htp_agreement")
        ]
        one.append(f"| {name} | {r['a16']} of {r['tensors']} | {r['MB']:.1f} | {' | '.join(measured)} |")
        if "htp_iou_drift" in r:
            cells = [f"{r['htp_' + key][0]:{how}}".replace("%", " %") for key, how in PAIRED.values()]
            two.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*one, "", *two])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", type=int, default=64)
    parser.add_argument("--htp", type=int, default=64)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="recipes with this in their name; others stay as --json has them")
    parser.add_argument(
        "--gap", action="store_true", help="only the CPU's arithmetic against the HTP's, on 96 pictures"
    )
    args = parser.parse_args()
    if args.gap:
        with tempfile.TemporaryDirectory() as work:
            return gap(Path(work))
    whole, pictures = assets.model("yolov8n"), assets.images("coco128")
    judging, calibration = pictures[: args.judge], pictures[-64:]
    truths, few = [vision.labels(p) for p in judging], calibration[-32:]
    with tempfile.TemporaryDirectory() as work:
        cut = qdq.split_head(whole, Path(work) / "cut.onnx")
        recipes = {
            "ORT as it comes, MinMax": partial(peer, whole, pictures=few, method="MinMax"),
            "ORT, head cut, MinMax (ultralytics' recipe in 8 bits)": partial(peer, cut, pictures=few, method="MinMax"),
            "ORT, head cut, Percentile": partial(peer, cut, pictures=few, method="Percentile"),
            "ORT, head cut, Entropy": partial(peer, cut, pictures=few, method="Entropy"),
            "ultralytics' recipe, A16W8": partial(peer, cut, pictures=few, method="MinMax", activation="QUInt16"),
            "ours, percentile 99.99": partial(ours, cut, pictures=few, method="percentile"),
            "ours, mse": partial(ours, cut, pictures=few, method="mse"),
            "ours, recipe best without 16 bits": partial(best, cut, pictures=calibration, share=0),
            "ours, recipe best up to 3 %": partial(best, cut, pictures=calibration, share=0.03),
            "ours, recipe best": partial(best, cut, pictures=calibration),
            "ours, A16W8, weights rounded adaptively": partial(wide, cut, pictures=calibration),
        }
        weights = set(Model.of(whole).constants)
        reference = detect(cut, judging)
        mb = cut.stat().st_size / 1e6
        ap, rows = vision.average_precision(reference, truths)["AP50-95"], {}
        if args.only and args.json and args.json.is_file():
            rows = json.loads(args.json.read_text(encoding="utf-8"))["recipes"]
        for k, (name, recipe) in enumerate((n, r) for n, r in recipes.items() if args.only in n):
            path = recipe(out=Path(work) / f"{k}.onnx")
            dtypes = [p.dtype for t, p in qdq.list_qparams(path).items() if t not in weights]
            row = {"a16": dtypes.count("uint16"), "tensors": len(dtypes)}
            row |= {"MB": round(path.stat().st_size / 1e6, 2)}
            cpu = vision.paired_metrics(reference, detect(path, judging), truths)
            row |= {key: cpu[key] for key in ("ap", *KEPT)}
            if args.htp and row["ap"].value > 0:
                target = "integer" if name.startswith("ours") and not row["a16"] else "htp"
                found = detect(path, judging[: args.htp], target)
                htp = vision.paired_metrics(reference[: args.htp], found, truths[: args.htp])
                row |= {f"htp_{key}": htp[key] for key in KEPT} | {"htp_by": target, "htp_pictures": args.htp}
            rows[name] = row
            print(f"{name}: lost {row['ap_drop']}, on the HTP {row.get('htp_ap_drop')}", file=sys.stderr, flush=True)
            if args.json:
                rows = {n: rows[n] for n in recipes if n in rows}
                about = {"judged": args.judge, "fp32_ap": ap, "recipes": rows}
                args.json.write_text(json.dumps(about, indent=1, default=float) + "\n", encoding="utf-8")
    print(f"FP32: AP50-95 {ap:.4f}, {mb:.1f} MB\n\n{tables({n: rows[n] for n in recipes if n in rows})}")


if __name__ == "__main__":
    main()
