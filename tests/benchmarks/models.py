"""What INT8 costs networks of many families: ONNX Runtime's QNN recipe, ours as it comes, ours at its best.

    python tests/benchmarks/families.py FOLDER
    python tests/benchmarks/models.py FOLDER [NAME …] [--json FILE] [--htp 2] [--integer 1] [--without-16]

FOLDER holds .onnx files; data/ has four. A model of pictures is fed with data/'s (calibration/ sets ranges,
validation/ judges), with ImageNet's mean and std where it is no detector and none of data/'s own; any other needs a
folder of .npz of its own name beside it, whose last third judges. The recipe is ONNX Runtime's `get_qnn_qdq_config`
and `quantize` with MinMax, on the same prepared graph and the same inputs as ours.

SQNR: 10·log₁₀ of signal over noise of the outputs, the noise shares of several outputs averaged, on the CPU, on inputs
that nothing was tuned on; *htp* the same on the emulator for the first few of them. Agreement: the same class first,
or for a detector AP50-95 against FP32's own boxes. *Codes*: outputs of `integer` equal to the emulator's, or why not.
With `--json` a run adds its rows to the file, model by model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers import assets, calibrate, qdq, repair, targets, tasks
from helpers.graph import Feed, Model, read_model

CALIBRATING, JUDGING = 64, 32
OWN = {"shapes_classifier": "classification", "shapes_attention": "classification", "shapes_segmenter": "segmentation"}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "resize": "letterbox"}


def settled(path: Path) -> tuple[Model, list[Path], list[Path]]:
    """The model made ready, with its preprocessing; the inputs that calibrate, and those that judge."""
    model, own = qdq.prepare(path).model, OWN.get(path.stem)
    if (arrays := path.with_suffix("")).is_dir():
        files = tasks.named("tensors").inputs(arrays)
        third = -len(files) // 3
        return tasks.settle(model, files, "tensors"), files[:third][:CALIBRATING], files[third:][:CALIBRATING]
    calibrating, judging = (assets.images(f"{own}/{part}" if own else part) for part in ("calibration", "validation"))
    judging = judging[::3] if own else judging[:JUDGING]  # a folder for each class: not the first ones alone
    detects = tasks.recognise(model).name == "detection"
    how = None if own or detects else IMAGENET
    return tasks.settle(model, calibrating, settings=how), calibrating[:CALIBRATING], judging


def onnx_runtime(fp32: Path, feeds: Any, out: Path) -> None:
    """ONNX Runtime's QNN recipe as it comes, MinMax."""
    from onnxruntime.quantization import CalibrationMethod, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    reader = SimpleNamespace(get_next=partial(next, iter(feeds), None))
    with contextlib.redirect_stdout(io.StringIO()):
        config = get_qnn_qdq_config(str(fp32), reader, calibrate_method=CalibrationMethod.MinMax)
        quantize(str(fp32), str(out), config)


def plain(fp32: Path, feeds: Any, out: Path) -> None:
    """Ours as the command line makes it: the default method."""
    qdq.quantize_model(fp32, out, calibrate.ranges(calibrate.observe(fp32, feeds), "percentile"))


def outputs(path: Path, feeds: Sequence[Feed], target: str = "cpu") -> list[list[np.ndarray]]:
    session = targets.load(path, target, **({"optimize": True} if target == "cpu" else {}))
    return [session.run(None, dict(feed)) for feed in feeds]


def sqnr(reference: list[list[np.ndarray]], test: list[list[np.ndarray]]) -> float:
    """dB of the mean share of noise over outputs; an output that is always zero is left out."""
    shares = []
    for a, b in zip(zip(*reference, strict=True), zip(*test, strict=True), strict=True):
        left, right = (np.stack(part).astype(np.float64) for part in (a, b))
        if np.any(left):
            shares.append(np.sum((left - right) ** 2) / np.sum(left**2))
    return round(float(-10 * np.log10(max(np.mean(shares), 1e-12))), 2)


def agreement(fp32: Path, reference: list, test: list) -> float | None:
    """Share of inputs with the same class first; for a detector AP50-95 against the float model's boxes."""
    from helpers.tasks.yolo_decode import decode

    if tasks.recognise(fp32).name == "detection":
        from helpers.boxes import nms, paired_metrics

        size = next(iter(Model.of(fp32).input_types.values()))[1][2:]

        def boxes(out: list) -> Any:
            found = decode(out, size, 0.001)
            kept = nms(*found, 0.7, 300)
            return tuple(part[kept] for part in found)

        try:
            found = paired_metrics([boxes(o) for o in reference], [boxes(o) for o in test])["agreement"].value
        except ValueError:  # the float model sees nothing in these pictures
            return None
        return round(float(found), 4) if np.isfinite(found) else None
    shape = reference[0][0].shape
    if len(reference[0]) > 1 or len(shape) < 2 or not 1 < shape[-1] < 1e5 or len(shape) > 3:
        return None
    same = [a[0].argmax(-1) == b[0].argmax(-1) for a, b in zip(reference, test, strict=True)]
    return round(float(np.mean(same)), 4)


def placed(path: Path) -> str:
    """Nodes on the HTP of all, or the reason why there is none."""
    try:
        where = targets.placement(targets.load(path, "htp"))
    except (RuntimeError, ValueError) as e:
        return f"refused: {str(e)[:80]}"
    return f"{sum(p == targets.QNN for p in where.values())} of {len(where)}"


def codes_equal(path: Path, feeds: Sequence[Feed]) -> str:
    """Share of `integer`'s outputs that equal the emulator's, or what it has no kernel for."""
    try:
        mine, theirs = (outputs(path, feeds, target) for target in ("integer", "htp"))
    except (RuntimeError, ValueError, KeyError) as e:
        return f"refused: {str(e)[-80:]}"
    equal = [np.isclose(a, b, atol=1e-6) for x, y in zip(mine, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    return f"{100 * np.mean(np.concatenate([e.ravel() for e in equal])):.3f} %"


def measure(model: Path, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One model's row."""
    graph, *parts = settled(model)
    task = tasks.recognise(graph)
    fp32 = task.prepare(graph, work / "fp32.onnx")
    calibrating, judging = (task.feeds(part, fp32) for part in parts)
    reference = outputs(fp32, judging)
    recipes = {"ort": onnx_runtime, "plain": plain, "best8": best8, "best": best}
    row: dict[str, Any] = {"weights": "random" if is_random(model) else "trained"}
    for name, make in recipes.items():
        if name not in args.recipes:
            continue
        start, out = time.perf_counter(), work / f"{name}.onnx"
        try:
            made = make(fp32, calibrating, out)
            test = outputs(out, judging)
        except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as e:
            row[name] = {"failed": str(e)[:120]}
            continue
        found = {"sqnr": sqnr(reference, test), "agreement": agreement(fp32, reference, test)}
        if args.htp and name in ("plain", "best"):
            few = [judging[k] for k in range(args.htp)]
            found |= {"placed": placed(out)}
            if not found["placed"].startswith("refused"):
                found["htp_sqnr"] = sqnr(reference[: args.htp], outputs(out, few, "htp"))
        if args.integer and name == "plain":
            found["codes"] = codes_equal(out, [judging[k] for k in range(args.integer)])
        found["seconds"] = round(time.perf_counter() - start, 1)
        row[name] = found | (made or {})
    return row


def best8(fp32: Path, feeds: Any, out: Path) -> dict[str, Any]:
    """Ours at its best, every tensor at 8 bits."""
    return told(repair.quantize_best(fp32, feeds, out, share=0, levelled=out.with_name("levelled8.onnx")))


def best(fp32: Path, feeds: Any, out: Path) -> dict[str, Any]:
    """Ours at its best, up to 5 % of the tensors at 16 bits."""
    return told(repair.quantize_best(fp32, feeds, out, levelled=out.with_name("levelled.onnx")))


def told(made: dict[str, Any]) -> dict[str, Any]:
    return {"kept": made["kept"], "a16": len(made["a16"]), "tensors": len(made["ranges"]), "steps": made["steps"]}


def is_random(model: Path) -> bool:
    props = {p.key: p.value for p in read_model(model).metadata_props}
    return props.get("weights") == "random"


def table(rows: dict[str, dict]) -> str:
    """The rows as Markdown."""
    head = "model,weights,nodes on HTP,dB: ORT,plain,best of 8 bits,best,agreement: ORT,best of 8 bits,best,codes"
    lines = [f"| {' | '.join(head.split(','))} |", "|---" * (head.count(",") + 1) + "|"]
    for name, row in rows.items():
        plain_row = row.get("plain", {})
        cells = [name, row["weights"], plain_row.get("placed", "")]
        cells += [_cell(row, key, "sqnr") for key in ("ort", "plain", "best8", "best")]
        cells += [_cell(row, key, "agreement") for key in ("ort", "best8", "best")] + [plain_row.get("codes", "")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict, recipe: str, what: str) -> str:
    found = row.get(recipe, {})
    return "failed" if "failed" in found else "" if found.get(what) is None else f"{found[what]:.4g}"


def models(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """The .onnx files of those names, or all."""
    found = {p.stem: p for p in sorted(folder.glob("*.onnx"))}
    for name in names or found:
        if name not in found:
            raise ValueError(f"{folder}: holds no {name}.onnx; it holds {', '.join(found) or 'none'}.")
        yield found[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--htp", type=int, default=0, help="inputs that run on the emulator (0)")
    parser.add_argument("--integer", type=int, default=0, help="inputs whose codes are counted (0)")
    parser.add_argument("--recipes", nargs="+", default=["ort", "plain", "best8", "best"])
    args = parser.parse_args()
    rows: dict[str, dict] = {}
    if args.json and args.json.is_file():
        rows = json.loads(args.json.read_text(encoding="utf-8"))
    for path in models(args.folder, args.names):
        with tempfile.TemporaryDirectory() as work:
            rows[path.stem] = rows.get(path.stem, {}) | measure(path, args, Path(work))
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
