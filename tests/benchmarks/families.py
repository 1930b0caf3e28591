"""Networks of several families, written as ONNX for tests/benchmarks/models.py: same seed, same weights.

    python tests/benchmarks/families.py FOLDER [NAME …]

Nothing here was trained: weights are as torchvision and Ultralytics draw them, means and variances of batch norms are
those of data/'s pictures. What is written is their own export, simplified by onnxslim; it needs the extra `yolo`.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers import assets
from helpers.tasks.feeds import letterbox

VISION = {  # name: side of the square input
    "mobilenet_v2": 128,
    "mobilenet_v3_small": 128,
    "resnet18": 128,
    "shufflenet_v2_x1_0": 128,
    "squeezenet1_1": 128,
    "efficientnet_b0": 128,
    "regnet_y_400mf": 128,
    "mnasnet0_5": 128,
    "densenet121": 96,
    "convnext_tiny": 96,
    "vit_b_16": 224,
}
YOLO = {  # name: Ultralytics' yaml
    "yolov5nu": "yolov5n.yaml",
    "yolov8n": "yolov8n.yaml",
    "yolov9t": "yolov9t.yaml",
    "yolov10n": "yolov10n.yaml",
    "yolo11n": "yolo11n.yaml",
    "yolo12n": "yolo12n.yaml",
}
YOLO_SIDE = 160


def _measure_norms(module: Any, pictures: Any) -> None:
    """Give every batch norm the mean and variance of the pictures."""
    import torch

    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over all batches
        norm.reset_running_stats()
    module.train()
    for drop in module.modules():
        if "Drop" in type(drop).__name__ or "Stochastic" in type(drop).__name__:
            drop.eval()
    with torch.no_grad():
        for _ in range(2):
            module(pictures)
    module.eval()


def _pictures(side: int, normalized: bool) -> np.ndarray:
    """24 of data/'s pictures, 24×3×side×side."""
    x = np.concatenate([letterbox(p, side)[0] for p in assets.images("calibration")[:24]])
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / std[:, None, None] if normalized else x


def torchvision_net(name: str, out: Path) -> Path:
    """A classifier of torchvision, with a batch of one."""
    import torch
    import torchvision

    torch.manual_seed(0)
    side = VISION[name]
    more = {"image_size": side, "num_layers": 6} if name == "vit_b_16" else {}
    if more:
        net = torchvision.models.VisionTransformer(side, 16, 6, 4, 192, 768)  # DeiT's width, half its depth
    else:
        net = torchvision.models.get_model(name, weights=None)
    x = torch.from_numpy(_pictures(side, normalized=True))
    _measure_norms(net, x)
    for head in [m for m in net.modules() if isinstance(m, torch.nn.Linear)]:
        if float(head.weight.abs().max()) == 0:  # the transformer's head starts at zero
            torch.nn.init.normal_(head.weight, std=0.02)
    torch.onnx.export(net.eval(), (x[:1],), str(out), opset_version=17, dynamo=False, input_names=["input"])
    return out


def ultralytics_net(name: str, out: Path) -> Path:
    """A detector of Ultralytics, as its own `export` writes it."""
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    import torch
    from ultralytics import YOLO as Yolo

    torch.manual_seed(0)
    model = Yolo(YOLO[name])
    x = torch.from_numpy(_pictures(YOLO_SIDE, normalized=False))
    for parameter_name, parameter in model.model.named_parameters():
        if parameter_name.endswith("conv.bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    _measure_norms(model.model, x)
    made = Path(copy.copy(model).export(format="onnx", imgsz=YOLO_SIDE, opset=17, simplify=True))
    os.replace(made, out)
    return out


def make(name: str, folder: Path) -> Path:
    """Write the network of that name to `folder`; ValueError for a name that is not known."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{name}.onnx"
    if name in VISION:
        torchvision_net(name, out)
    elif name in YOLO:
        ultralytics_net(name, out)
    else:
        raise ValueError(f"network '{name}' is unknown; choose one of {', '.join((*VISION, *YOLO))}.")
    import onnxslim

    model = onnxslim.slim(onnx.load(out))
    entry = model.metadata_props.add()
    entry.key, entry.value = "weights", "random"
    onnx.save(model, out)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[*VISION, *YOLO])
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    for wanted in arguments.names:
        print(make(wanted, folder), flush=True)
