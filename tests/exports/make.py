"""Export a YOLOv8 by one version of Ultralytics and drop its weights: what the files beside this one were made with.

`python tests/exports/make.py NAME`, with the version that README.md names for NAME installed. The graph is what
that version's own `export` writes; only the width is small. Weights of convolutions lose their bytes and keep their
name and shape; `test_exports.filled` puts seeded ones in their place.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import onnx
import yaml

# name: (yaml of Ultralytics, height and width, what `export` is told besides)
EXPORTS = {
    "v8.0.200": ("v8/yolov8.yaml", (128, 128), {}),
    "v8.1.47": ("v8/yolov8.yaml", (128, 128), {"simplify": True}),
    "v8.2.103": ("v8/yolov8.yaml", (128, 128), {}),
    "v8.3.0": ("v8/yolov8.yaml", (128, 128), {}),
    "v8.3.200": ("v8/yolov8.yaml", (128, 128), {}),
    "v8.4.190": ("v8/yolov8.yaml", (128, 128), {}),
    "v8.3.0-wide": ("v8/yolov8.yaml", (256, 416), {}),  # P3 is 32×52
    "v8.3.0-p2": ("v8/yolov8-p2.yaml", (128, 128), {}),
    "v8.3.0-two": ("two.yaml", (128, 96), {}),
    "v10-end": ("v10/yolov10n.yaml", (128, 128), {"nms": False}),  # with the head that ranks its own boxes
    "26": ("26/yolo26.yaml", (128, 128), {}),
    "26-seg-end": ("26/yolo26-seg.yaml", (128, 128), {"nms": False}),
    "11-pose": ("11/yolo11-pose.yaml", (128, 128), {}),
    "11-obb": ("11/yolo11-obb.yaml", (128, 128), {}),
}
TASKS = {"-seg": "segment", "-pose": "pose", "-obb": "obb"}


def description(name: str) -> dict:
    """The yaml of a model, three classes and 1/16 of the published width; `two` has strides 16 and 32 alone."""
    import ultralytics

    folder = Path(ultralytics.__file__).parent / "cfg" / "models"
    text = (folder / ("v8/yolov8.yaml" if name == "two.yaml" else name)).read_text(encoding="utf-8")
    made = yaml.safe_load(text) | {"nc": 3, "scales": {"n": [0.33, 0.0625, 1024]}}
    if name == "two.yaml":
        made["head"] = [*made["head"][:3], [-1, 1, "Conv", [512, 3, 2]], [[-1, 9], 1, "Concat", [1]],
                        [-1, 3, "C2f", [1024]], [[12, 15], 1, "Detect", ["nc"]]]  # fmt: skip
    return made


def export(name: str, folder: Path) -> Path:
    """The ONNX file that the installed Ultralytics writes."""
    import torch
    from ultralytics import YOLO

    if not getattr(torch.onnx.export, "wrapped", False):  # versions before 8.4 mean the exporter by TorchScript
        plain = torch.onnx.export
        torch.onnx.export = lambda *a, **k: plain(*a, **{"dynamo": False} | k)
        torch.onnx.export.wrapped = True
    file, size, options = EXPORTS[name]
    task = next((t for word, t in TASKS.items() if word in file), "detect")
    source = folder / "yolov8n.yaml"
    source.write_text(yaml.safe_dump(description(file)), encoding="utf-8")
    model = YOLO(source, task=task)
    torch.manual_seed(0)
    for name, parameter in model.model.named_parameters():
        if name.endswith(".bias"):  # equal ones would be stored once, as in no trained model
            torch.nn.init.normal_(parameter)
    return Path(model.export(format="onnx", imgsz=size, opset=17, **options))


def drop_weights(path: Path) -> onnx.ModelProto:
    """The model without the bytes of what its convolutions learned; DFL's 0, 1, … stays, being small."""
    model = onnx.load(path)
    read = {t for n in model.graph.node if n.op_type == "Conv" for t in n.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.name in read and onnx.numpy_helper.to_array(tensor).size > 16:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    return model


def main(name: str) -> None:
    """Write NAME.onnx beside this file."""
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    out = Path(__file__).resolve().with_name(f"{name}.onnx")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # Ultralytics writes where it stands
        made = drop_weights(export(name, Path(folder)))
        os.chdir(out.parent)
    out.write_bytes(made.SerializeToString())
    print(out, out.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
