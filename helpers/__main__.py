"""The same work without a notebook: `python -m helpers doctor | quantize | evaluate | compile | fetch`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np

from helpers import assets, calibrate, graph, plot, qdq, repair, session, vision
from helpers.targets import context

TRUST = "load a .pt of any origin: it is a pickle, and loading it runs whatever code its maker put in it"


def doctor(args) -> None:
    """Say what this machine has and what it lacks, with the remedy."""
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    pins = assets.DATA.parent / "constraints.txt"
    tested = re.findall(r"^([\w.-]+)==([^\s;]+)", pins.read_text(encoding="utf-8"), re.M) if pins.is_file() else []
    for name in ("numpy", "onnx", "onnxruntime", "onnxruntime-qnn", "jupyterlab", "ultralytics"):
        try:
            here = importlib.metadata.version(name)
            pinned = [version for pin, version in tested if pin == name]
            note = "" if here in pinned else f"  (tested with {' or '.join(pinned)})"
        except importlib.metadata.PackageNotFoundError:
            here, note = "not installed", "  (only export and training need it: extra `yolo`)" * (name == "ultralytics")
        print(f"  {name:<16} {here}{note}")
    for target, what in session.targets().items():
        print(f"  target {target:<9} {what}")
    if "htp" not in session.targets():
        print("  target htp       not here; Linux x86_64 emulates it, Windows ARM64 has the NPU")
    for what, find in {
        "model yolov8n": lambda: assets.find("yolov8n"),
        "coco128": lambda: assets.images("coco128")[0].parent,
    }.items():
        try:
            found = find()
            note = " (a checkpoint, not loaded here; `quantize` turns it into ONNX)" * (found.suffix == ".pt")
            print(f"  {what:<16} {found}{note}")
        except FileNotFoundError as e:
            print(f"  {what:<16} {e}")


QUANTIZED = ("fp32.onnx", "int8.onnx", "ranges.json", "report.json", "report.png")


def listed(name: str) -> list[Path]:
    """The pictures of a folder, or of a name that `assets.images` knows; what is passed over is told on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = assets.images(name)
    for warning in caught:
        print(f"note: {warning.message}", file=sys.stderr)
    return found


def pick(found: list[Path], limit: int | None, seen=frozenset()) -> list[Path]:
    """`limit` pictures of a folder (None: all), one at random from each of `limit` equal stretches of its order.

    The seed is fixed, so the same folder gives the same pictures. Those whose name is in `seen` come in only where
    the others are too few.

    >>> len(pick(assets.images("calibration"), 3)), pick([Path("b"), Path("a")], None)[0].name
    (3, 'b')
    """
    if limit is None or limit >= len(found):
        return found
    fresh = [p for p in found if p.name not in seen]
    if len(fresh) < limit:
        rest = [p for p in found if p.name in seen]
        return sorted(fresh + _spread(rest, limit - len(fresh)))
    return _spread(fresh, limit)


def _spread(found: list, count: int) -> list:
    rng, ends = np.random.default_rng(0), np.arange(count + 1) * len(found) // count
    return [found[rng.integers(a, b)] for a, b in pairwise(ends)]


def quantize(args) -> None:
    """FP32 ONNX in; out/fp32.onnx (head cut), int8.onnx (QDQ), ranges.json; with a recipe report.json and .png too."""
    model, every = assets.model(args.model, args.trust_pickle), listed(args.calibrate)
    graph.refuse_overwrite([args.output / name for name in QUANTIZED], [model, *every])
    pictures = pick(every, args.limit)
    graph.float_model(model)  # refuse before the long work
    args.output.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.resolve().parent) as work:  # nothing half-written on failure
        fp32 = qdq.split_head(model, Path(work) / "fp32.onnx")
        feeds, int8, steps = vision.Feeds(pictures, fp32), Path(work) / "int8.onnx", {}
        if args.recipe and args.activation != "uint8":
            raise ValueError("--recipe best chooses each tensor's width itself; leave --activation out.")
        if args.recipe:
            steps = follow(fp32, feeds, int8)
            ranges = steps.pop("ranges")
        else:
            histograms = calibrate.observe(fp32, feeds, partial=False)  # the record tells of all pictures
            ranges = calibrate.ranges(histograms, args.method, args.activation)
            qdq.quantize_model(fp32, int8, ranges, activation=args.activation)
        smaller = fp32.stat().st_size / int8.stat().st_size
        record = {
            "model": model.name,
            "method": args.method,
            "activation": args.activation,
            "calibrated_on": [p.name for p in pictures],
            "ranges": ranges,
        }
        if steps:
            record |= {"method": "recipe best"} | {k: steps[k] for k in ("a16", "calibrated_on", "judged_on")}
        (Path(work) / "ranges.json").write_text(json.dumps(record, indent=1))
        if steps:
            judging = [p for p in pictures if p.name in steps["judged_on"]]
            tell(Path(work), model.name, judging, steps)
        args.output.mkdir(exist_ok=True)
        for made in Path(work).iterdir():
            os.replace(made, args.output / made.name)
        if not steps:  # a report of another model must not stay beside this one
            for name in ("report.json", "report.png"):
                (args.output / name).unlink(missing_ok=True)
    print(f"{args.output}: {len(ranges)} ranges by {record['method']} from {len(pictures)} pictures;", end=" ")
    print(f"int8.onnx is {smaller:.1f} × smaller than fp32.onnx{'; see report.png' if steps else ''}")


def follow(fp32: Path, feeds: vision.Feeds, int8: Path) -> dict:
    """Run `repair.best`, print its steps, and return its report with pictures' names for their indices."""
    found = repair.best(fp32, feeds, int8)
    print(f"{'step':<38}{'score drift':>12}{'box drift':>11}{'seconds':>9}")
    for step in found["steps"]:
        kept = "  ← kept" if step["step"] == found["kept"] else ""
        print(f"{step['step']:<38}{step['score']:>12.4f}{step['box']:>11.4f}{step['seconds']:>9.0f}{kept}")
    print(found["judge"])
    for name in ("calibrated_on", "judged_on"):
        found[name] = [feeds.paths[i].name for i in found[name]]
    return found


def tell(work: Path, name: str, pictures, steps: dict) -> None:
    """Write report.json and report.png: what each step bought, SQNR by depth, the picture that changed most."""
    fp32, int8 = work / "fp32.onnx", work / "int8.onnx"
    few = pictures[:: max(1, len(pictures) // 8)][:8]
    detectors = [vision.Detector(path) for path in (fp32, int8)]
    before, after = ([d.detect(p, conf=0.001) for p in few] for d in detectors)
    sqnr = qdq.layer_sqnr(fp32, int8, vision.Feeds(few[:2], fp32))
    found = {
        "model": name,
        **steps,
        "activation_tensors": len(sqnr),
        "bytes": {p.name: p.stat().st_size for p in (fp32, int8)},
        "sqnr_db": {t: round(v, 2) for t, v in sqnr.items() if np.isfinite(v)},
        "compared_on": [p.name for p in few],
    }
    title = "SQNR of each activation (class logits are cut at −7 on purpose)"
    figures = [plot.recipe_steps(steps["steps"]), plot.sqnr_by_depth({name: sqnr}, title)]
    if any((scores > 0.25).any() for _, scores, _ in before):  # else there is nothing to compare
        metrics = vision.paired_metrics(before, after)
        found["paired"] = {k: v for k, v in metrics.items() if np.isfinite(v).all()}
        gaps = [np.abs(vision.paired_boxes([a], [b])["jitter"]).sum() for a, b in zip(before, after, strict=True)]
        k = int(np.argmax(gaps))
        figures.append(plot.overlay(few[k], before[k], after[k], detectors[0].names))
    (work / "report.json").write_text(json.dumps(found, indent=1))
    plot.stack_figures(figures, work / "report.png")


def evaluate(args) -> None:
    """The three-way table: FP32 on CPU, INT8 on CPU (graph as written), INT8 on the target."""
    fp32, int8 = args.folder / "fp32.onnx", args.folder / "int8.onnx"
    for needed in (fp32, int8):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed}: no such file; make it with `python -m helpers quantize … -o {args.folder}`."
            )
    record = args.folder / "ranges.json"
    found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    seen = {*found.get("calibrated_on", []), *found.get("judged_on", [])}
    pictures = pick(listed(args.images), args.limit, seen)
    rows = [("FP32 CPU", fp32, "cpu"), ("INT8 CPU", int8, "cpu")]
    if args.target == "htp":
        placed = session.placement(session.load(int8, "htp"))  # fails before the long work where there is no HTP
        rows.append(("INT8 HTP", int8, "htp"))
    elif args.target == "integer":
        rows.append(("as on HTP", int8, "integer"))
    both = seen & {p.name for p in pictures}
    print(f"{len(pictures)} pictures of {args.images}{', none of which set the ranges' if seen and not both else ''}")
    print(f"{'':<10}{'AP50-95':>9}{'AP50':>9}")
    for label, path, target in rows:
        ap = vision.evaluate(path, pictures, target)
        print(f"{label:<10}{ap['AP50-95']:>9.3f}{ap['AP50']:>9.3f}", flush=True)
    if args.target == "htp":
        print(f"{sum(p == session.QNN for p in placed.values())} of {len(placed)} nodes of the INT8 graph on HTP")
        print(session.targets()["htp"])
    if both:
        print(f"note: {len(both)} of these pictures also set the ranges; judge on others.")


def compile_(args) -> None:
    """A QDQ model in; a context compiled for the HTP and its manifest out."""
    made = session.compile_context(args.model, args.output or args.model.with_name(f"{args.model.stem}_htp.onnx"))
    record = context.verify_manifest(made)
    hexagon = record.get("device") or context.hexagon(context.built_for(record))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB for {hexagon}")


def fetch(args) -> None:
    """Download yolov8n or coco128 into data/cache."""
    print(assets.fetch(args.name, args.trust_pickle))


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main(argv=None) -> int:
    """Run one command; 2 and one sentence on stderr where the input is bad.

    >>> main(["quantize", "nowhere/model.onnx"])
    2
    """
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for function in (doctor, quantize, evaluate, compile_, fetch):
        command = commands.add_parser(function.__name__.strip("_"), help=function.__doc__, description=function.__doc__)
        command.set_defaults(run=function)
        if function is quantize:
            command.add_argument("model", help="an ONNX file, or yolov8n")
            command.add_argument("--calibrate", default="calibration", metavar="PICTURES", help="a folder, or coco128")
            command.add_argument(
                "--limit", type=positive, default=32, help="how many pictures, spread over the folder (32)"
            )
            command.add_argument("--method", choices=calibrate.METHODS, default="percentile")
            command.add_argument(
                "--recipe", choices=["best"], help="ranges, 16-bit tensors and rounding by measurement"
            )
            command.add_argument("--activation", choices=["uint8", "uint16"], default="uint8")
            command.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder to write (out)")
        elif function is evaluate:
            command.add_argument("folder", type=Path, help="what quantize wrote")
            command.add_argument("--images", default="validation", metavar="PICTURES", help="a folder, or coco128")
            command.add_argument("--target", choices=["cpu", "htp", "integer"], default="cpu")
            command.add_argument(
                "--limit", type=positive, help="how many pictures, spread over the folder, calibration's last (all)"
            )
        elif function is compile_:
            command.add_argument("model", type=Path, help="a QDQ model, such as out/int8.onnx")
            command.add_argument("-o", "--output", type=Path, help="the context to write (beside it, <name>_htp.onnx)")
        elif function is fetch:
            command.add_argument("name", help="yolov8n or coco128")
        if function in (quantize, fetch):
            command.add_argument("--trust-pickle", action="store_true", help=TRUST)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError, ImportError, RuntimeError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
