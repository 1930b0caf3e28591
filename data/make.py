"""Make the course's own pictures and model: `python data/make.py all` renders, trains and exports.

Training and export need the `yolo` extra; rendering needs NumPy and Pillow only.
"""

import argparse
import json
import os
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from scenes import CLASSES, SIZE, scene  # noqa: E402

# First seed and number of pictures; the ranges are disjoint. `tune` picks the best epoch, `validation` never does.
SPLITS = {"calibration": (1_000_000, 64), "validation": (2_000_000, 128), "tune": (3_000_000, 200)}
TRAIN_SEED = 4_000_000
# YOLOv8 as published (backbone and head of Ultralytics' yolov8.yaml), an eighth as wide.
DEPTH, WIDTH, MAX_CHANNELS = 0.33, 0.125, 1024


def render_one(job: tuple[Path, int, int]) -> None:
    """Write the picture of one seed as JPEG, its labels (class, centre, extent as fractions) beside."""
    folder, seed, quality = job
    picture, boxes = scene(seed)
    kinds, low, high = boxes[:, :1], boxes[:, 1:3] / SIZE, boxes[:, 3:] / SIZE
    rows = np.hstack([kinds, (low + high) / 2, high - low])
    Image.fromarray(picture).save(folder / "images" / f"{seed}.jpg", quality=quality)
    text = "".join("{:.0f} {:.6f} {:.6f} {:.6f} {:.6f}\n".format(*row) for row in rows)
    (folder / "labels" / f"{seed}.txt").write_text(text, encoding="utf-8", newline="\n")


def render(folder: Path, first: int, count: int, quality: int = 92, workers: int = 2) -> None:
    """Render seeds first … first + count − 1 into folder/images and folder/labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    jobs = [(folder, seed, quality) for seed in range(first, first + count)]
    with Pool(workers) as pool:
        for _ in tqdm(pool.imap_unordered(render_one, jobs, 8), total=count, desc=folder.name, mininterval=5):
            pass


def offline(work: Path) -> None:
    """Keep Ultralytics off the network and its files in the work folder; call it before the import."""
    (work / "settings").mkdir(parents=True, exist_ok=True)
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=str(work / "settings"))
    from ultralytics import settings

    settings.update(sync=False, runs_dir=str(work / "runs"), weights_dir=str(work), datasets_dir=str(work))


def half_precision(trainer) -> None:
    """Run the forward pass in bfloat16, about twice as fast on a CPU that has it; weights and loss stay float32."""
    import torch

    full = trainer.model.predict

    def predict(x, *args, **kwargs):
        with torch.autocast("cpu", torch.bfloat16):
            out = full(x.contiguous(memory_format=torch.channels_last), *args, **kwargs)
        cast = lambda v: [u.float() for u in v] if isinstance(v, list) else v.float()  # noqa: E731
        return {key: cast(value) for key, value in out.items()}

    trainer.model.to(memory_format=torch.channels_last)
    trainer.model.predict = predict


def train(work: Path, epochs: int, hours: float | None, batch: int, bfloat16: bool) -> None:
    """Train from random weights on work/train, best epoch by work/tune; weights land in work/runs."""
    offline(work)
    import torch
    import ultralytics
    import yaml
    from ultralytics import YOLO

    torch.set_num_threads(2)
    graph = Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8.yaml"
    config = yaml.safe_load(graph.read_text(encoding="utf-8"))
    config.update(nc=len(CLASSES), scales={"n": [DEPTH, WIDTH, MAX_CHANNELS]})
    (work / "yolov8n-eighth.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    data = {"path": str(work), "train": "train/images", "val": "tune/images", "names": dict(enumerate(CLASSES))}
    (work / "data.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    model = YOLO(work / "yolov8n-eighth.yaml", task="detect")
    if bfloat16:
        model.add_callback("on_train_start", half_precision)
    model.train(
        data=work / "data.yaml", epochs=epochs, time=hours, imgsz=SIZE, batch=batch, nbs=batch, device="cpu", workers=1,
        seed=0, cache="ram", amp=False, plots=False, patience=0, pretrained=False, project=str(work / "runs"),
        name="scenes", exist_ok=True, optimizer="AdamW", lr0=0.002, lrf=0.01, cos_lr=True, momentum=0.9,
        weight_decay=0.01, warmup_epochs=0.5, mosaic=0, scale=0, translate=0, degrees=0, fliplr=0.5,
        flipud=0.5, hsv_h=0.1, hsv_s=0.3, hsv_v=0.2, erasing=0,
    )  # fmt: skip


def export(work: Path, weights: Path, out: Path) -> None:
    """Write the weights as ONNX: one static picture in, no NMS, FP32, no machine path or date inside."""
    offline(work)
    import onnx
    from ultralytics import YOLO

    made = YOLO(weights).export(format="onnx", imgsz=SIZE, opset=17, simplify=True, dynamic=False, device="cpu")
    model = onnx.load(made)
    keep = [p for p in model.metadata_props if p.key in ("names", "stride", "imgsz", "task", "author", "license")]
    del model.metadata_props[:]
    model.metadata_props.extend(keep)
    onnx.checker.check_model(model, full_check=True)
    part = out.with_suffix(".part")
    onnx.save(model, part)
    os.replace(part, out)
    print(f"{out}: {out.stat().st_size} bytes")


def measure(work: Path, onnx_path: Path) -> None:
    """Print COCO average precision of the exported model on the committed validation pictures."""
    offline(work)
    import shutil

    from ultralytics import YOLO

    shutil.copytree(HERE / "validation", work / "validation", dirs_exist_ok=True)  # Ultralytics writes a cache beside
    data = {"path": str(work), "train": "validation/images", "val": "validation/images"}
    data["names"] = dict(enumerate(CLASSES))
    (work / "measure.yaml").write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    box = YOLO(onnx_path, task="detect").val(
        data=work / "measure.yaml", imgsz=SIZE, batch=1, device="cpu", conf=0.001, plots=False,
        project=str(work / "runs"), name="measure", exist_ok=True,
    ).box  # fmt: skip
    print(f"AP50-95 {box.map:.4f}  AP50 {box.map50:.4f}")
    print(" ".join(f"{name} {ap:.3f}" for name, ap in zip(CLASSES, box.maps, strict=True)))


def main() -> None:
    """Run one step, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("pictures", "render", "train", "export", "measure", "all"))
    parser.add_argument("--work", type=Path, default=HERE.parent / "out" / "data", help="where training lives")
    parser.add_argument("--count", type=int, default=6000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--hours", type=float, help="train this long instead, however many epochs it makes")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--bfloat16", action="store_true", help="train in bfloat16")
    parser.add_argument("--weights", type=Path, help="weights to export; default: the best of the run in --work")
    args = parser.parse_args()
    work = args.work.resolve()
    if args.step in ("pictures", "all"):
        (HERE / "classes.json").write_text(json.dumps(CLASSES) + "\n", encoding="utf-8", newline="\n")
        for name in ("calibration", "validation"):
            render(HERE / name, *SPLITS[name], quality=88)
    if args.step in ("render", "all"):
        render(work / "tune", *SPLITS["tune"])
        render(work / "train", TRAIN_SEED, args.count)
    if args.step in ("train", "all"):
        train(work, args.epochs, args.hours, args.batch, args.bfloat16)
    if args.step in ("export", "all"):
        weights = args.weights or work / "runs" / "scenes" / "weights" / "best.pt"
        export(work, weights, HERE / "scenes.onnx")
    if args.step in ("measure", "all"):
        measure(work, HERE / "scenes.onnx")


if __name__ == "__main__":
    main()
