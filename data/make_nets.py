"""Make the pictures and the three small models of chapter 12: `python data/make_nets.py all`.

`pictures` needs NumPy and Pillow; `train` the `yolo` extra, for its PyTorch. A seed gives the same pictures and, on the
same machine with the same PyTorch, the same weights.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from scenes import CLASSES, small_scene  # noqa: E402

# First seed and number of pictures: no seed is in two sets, nor in one of make.py's.
SPLITS = {"calibration": (5_000_000, 64), "validation": (6_000_000, 320), "tune": (7_000_000, 400)}
TRAIN_SEED = 8_000_000
SIDE = {"classification": 64, "segmentation": 96}  # pixels
MOST = {"classification": 1, "segmentation": 4}  # objects in a picture
KEPT = {"classification": {"calibration": 64, "validation": 320}, "segmentation": {"calibration": 32, "validation": 64}}
NETS = {  # name: (task, class in nets.py, epochs, highest learning rate)
    "shapes_classifier": ("classification", "Classifier", 20, 5e-3),
    "shapes_attention": ("classification", "Transformer", 35, 2e-3),
    "shapes_segmenter": ("segmentation", "Segmenter", 12, 5e-3),
}


def write_pictures(task: str, split: str) -> None:
    """The committed pictures of one set: in a folder for each class, or with a mask of the same name beside."""
    folder, first = HERE / task / split, SPLITS[split][0]
    for seed in range(first, first + KEPT[task][split]):
        picture, mask = small_scene(seed, SIDE[task], MOST[task])
        if task == "classification":
            part = CLASSES[mask.max() - 1]
        else:
            part = "images"
            (folder / "masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / "masks" / f"{seed}.png", optimize=True)
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / part / f"{seed}.jpg", quality=88)


def _rendered(job: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return small_scene(*job)


def rendered(task: str, work: Path, name: str, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, side, side, 3) and masks (count, side, side), rendered once and kept in the work folder."""
    kept = work / f"{task}-{name}-{count}.npz"
    if not kept.is_file():
        jobs = [(seed, SIDE[task], MOST[task]) for seed in range(first, first + count)]
        with Pool(2) as pool:
            made = list(tqdm(pool.imap(_rendered, jobs, 16), total=count, desc=f"{task} {name}", mininterval=5))
        work.mkdir(parents=True, exist_ok=True)
        np.savez(kept, pictures=np.array([p for p, _ in made]), masks=np.array([m for _, m in made]))
    with np.load(kept) as file:
        return file["pictures"], file["masks"]


def targets_of(task: str, masks: np.ndarray) -> np.ndarray:
    """What a net is to say: the class of the one object, or the class of each pixel, 0 for the background."""
    return masks.reshape(len(masks), -1).max(1).astype(np.int64) - 1 if task == "classification" else masks.astype(int)


def said_by(net, pictures: np.ndarray) -> np.ndarray:
    """The class of each picture, or of each pixel, that a net in evaluation mode gives the largest score."""
    import torch

    with torch.inference_mode():
        return torch.cat([net(as_input(part)).argmax(1) for part in np.array_split(pictures, 8)]).numpy()


def share_right(said: np.ndarray, wanted: np.ndarray) -> float:
    """Share of pictures that are right; of masks the mean IoU over classes."""
    if said.ndim == 1:
        return float((said == wanted).mean())
    pairs = [(said == k, wanted == k) for k in range(len(CLASSES) + 1)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def as_input(pictures: np.ndarray):
    """Pictures of bytes as N×3×H×W in 0 … 1."""
    import torch

    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous() / 255


def turned(batch, wanted, rng):
    """The batch mirrored or turned by quarters, and its masks with it."""
    quarters, mirror = int(rng.integers(4)), bool(rng.integers(2))
    turn = lambda x: (x.flip(-1) if mirror else x).rot90(quarters, (-2, -1))  # noqa: E731
    return turn(batch), turn(wanted) if wanted.ndim == 3 else wanted


def train(name: str, work: Path, count: int):
    """Train one net from random weights; the epoch that does best on `tune` is kept. Returns it in evaluation mode."""
    import nets
    import torch

    task, kind, epochs, rate = NETS[name]
    pictures, masks = rendered(task, work, "train", TRAIN_SEED, count)
    tune, tune_masks = rendered(task, work, "tune", *SPLITS["tune"])
    x, y = as_input(pictures), torch.from_numpy(targets_of(task, masks))
    torch.manual_seed(0)
    rng, net = np.random.default_rng(0), getattr(nets, kind)().to(memory_format=torch.channels_last)
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0}])
    steps = len(x) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * steps, pct_start=0.2)
    importance = torch.tensor([0.3] + [1.0] * len(CLASSES)) if task == "segmentation" else None
    loss_of = torch.nn.CrossEntropyLoss(importance, label_smoothing=0.05)
    best, kept = -1.0, None
    for epoch in range(epochs):
        net.train()
        for part in np.array_split(rng.permutation(len(x)), steps):
            batch, wanted = turned(x[part], y[part], rng)
            optimizer.zero_grad()
            loss_of(net(batch), wanted).backward()
            optimizer.step()
            schedule.step() if schedule.last_epoch < epochs * steps else None
        net.eval()
        reached = share_right(said_by(net, tune), targets_of(task, tune_masks))
        print(f"{name} epoch {epoch + 1}: {reached:.4f} on tune", flush=True)
        if reached >= best:
            best, kept = reached, copy.deepcopy(net)
    torch.save(kept.state_dict(), work / f"{name}.pt")
    return kept


def folded(net):
    """The net with every BatchNorm folded into the convolution in front of it."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        for k in range(len(module) - 1):
            if isinstance(module[k], nn.Conv2d) and isinstance(module[k + 1], nn.BatchNorm2d):
                module[k], module[k + 1] = fuse_conv_bn_eval(module[k], module[k + 1]), nn.Identity()
    return net


def name_weights(model) -> None:
    """Name what a MatMul stores after the layer that it is of: blocks.0.attention.q.weight instead of a number."""
    stored = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            layer = ".".join(part.rpartition(".")[2] for part in node.name.strip("/").split("/")[:-1])
            stored[node.input[1]].name = node.input[1] = f"{layer}.weight"


def in_order_of_name(net):
    """The classifier with its classes sorted, as folders are when they are read as labels."""
    order = [CLASSES.index(name) for name in sorted(CLASSES)]
    net.scores.weight.data, net.scores.bias.data = net.scores.weight.data[order], net.scores.bias.data[order]
    return net


def export(name: str, net, out: Path) -> None:
    """Write a trained net as ONNX: one static picture in, FP32, opset 17, no machine path or date inside."""
    import onnx
    import onnxslim
    import torch

    task, part = NETS[name][0], out.with_suffix(".part")
    net = folded(copy.deepcopy(net))
    if task == "classification":
        net = in_order_of_name(net)
    torch.onnx.export(
        net, torch.zeros(1, 3, SIDE[task], SIDE[task]), part, dynamo=False, opset_version=17,
        input_names=["image"], output_names=["scores"],
    )  # fmt: skip
    model = onnxslim.slim(onnx.load(part), skip_fusion_patterns=["FusionGemm"])  # MatMul and Add stay apart
    name_weights(model)
    del model.metadata_props[:]
    classes = sorted(CLASSES) if task == "classification" else ["background", *CLASSES]
    told = {"names": str(dict(enumerate(classes))), "author": "int8-npu-course", "license": "Apache-2.0"}
    onnx.helper.set_model_props(model, told)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, part)
    os.replace(part, out)
    print(f"{out}: {out.stat().st_size} bytes")


def committed(task: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The committed pictures of one set, and what a net is to say of them."""
    paths = sorted((HERE / task / split).rglob("*.jpg"))
    pictures = np.array([np.asarray(Image.open(path)) for path in paths])
    if task == "classification":
        return pictures, np.array([sorted(CLASSES).index(path.parent.name) for path in paths])
    masks = [np.asarray(Image.open(path.parents[1] / "masks" / f"{path.stem}.png")) for path in paths]
    return pictures, np.array(masks).astype(int)


def measure(name: str) -> None:
    """Print what the exported model reaches on the committed validation pictures, in ONNX Runtime on the CPU."""
    sys.path.insert(0, str(HERE.parent))
    from helpers import targets

    session = targets.load(HERE / f"{name}.onnx")
    pictures, wanted = committed(NETS[name][0], "validation")
    inputs = (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    said = np.concatenate([session.run(None, {"image": x[None]})[0] for x in inputs]).argmax(1)
    print(f"{name}: {share_right(said, wanted):.4f} on {len(pictures)} validation pictures")


def main() -> None:
    """Run one step, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("pictures", "train", "measure", "all"))
    parser.add_argument("--net", choices=NETS, action="append", help="only this one; may be given again")
    parser.add_argument(
        "--work", type=Path, default=HERE.parent / "out" / "nets", help="where rendered pictures are kept"
    )
    parser.add_argument("--count", type=int, default=6000, help="training pictures")
    args = parser.parse_args()
    if args.step in ("pictures", "all"):
        for task, split in ((t, s) for t in KEPT for s in KEPT[t]):
            write_pictures(task, split)
    for name in args.net or NETS:
        if args.step in ("train", "all"):
            export(name, train(name, args.work, args.count), HERE / f"{name}.onnx")
        if args.step in ("train", "measure", "all"):
            measure(name)


if __name__ == "__main__":
    main()
