"""How many codes of whole networks `helpers.integer` computes as the HTP does: random weights, A8W8, one input.

    python tests/benchmarks/networks_integer.py [name …]

Networks of torchvision and one block of ultralytics' YOLO11, exported here. Prints the network, its operators, the
share of equal codes and the largest distance in steps over its outputs, and the integers' seconds;
or why it is refused.
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1] / "integer"))
sys.path.insert(0, str(Path(__file__).parents[2]))
from nets import strip

from helpers import calibrate, integer, qdq, session


def torchvision_net(name):
    def make():
        import torchvision  # of the extra, as all that exports

        return torchvision.models.get_model(name, weights=None), (1, 3, 96, 96)

    return make


def attention():
    """YOLO11's block of attention and two 1×1 convolutions, over 8×8 places of 128 channels."""
    from ultralytics.nn.modules.block import PSABlock

    return PSABlock(128, attn_ratio=0.5, num_heads=2), (1, 128, 8, 8)


NETWORKS = {name: torchvision_net(name) for name in ("mobilenet_v2", "resnet18", "squeezenet1_1", "shufflenet_v2_x0_5")}
NETWORKS["YOLO11 attention"] = attention


def randomized(net):
    """The network with means and variances in its normalizations, as if it had been trained."""
    import torch

    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def exported(name, folder):
    import torch

    torch.manual_seed(0)
    net, shape = NETWORKS[name]()
    path = folder / "float.onnx"
    torch.onnx.export(randomized(net), torch.zeros(shape), path, opset_version=17, dynamo=False, input_names=["x"])
    return qdq.prepare(path).model.save(path), shape


def main(*names: str) -> None:
    rng = np.random.default_rng(0)
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            path, shape = exported(name, folder)
            feeds = [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(4)]
            ranges = calibrate.ranges(calibrate.observe(path, feeds), "minmax")
            model = onnx.load(qdq.quantize_model(path, folder / "int8.onnx", ranges))
            operators = Counter(n.op_type for n in model.graph.node if "Linear" not in n.op_type)
            told = ", ".join(f"{count} {kind}" for kind, count in operators.most_common())
            print(f"{name}: {told}\n    {compared(model, rng, folder)}", flush=True)


def compared(model, rng, folder):
    """The share of equal codes in a sentence, or why the network is refused."""
    try:
        simulator = integer.Simulator(model)
    except ValueError as e:
        return f"refused: {e}"
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    feed = {"x": rng.integers(0, 256, shape).astype(np.uint8)}
    start = time.perf_counter()
    ours = list(simulator.run(feed).values())
    seconds = time.perf_counter() - start
    onnx.save(strip(model), folder / "codes.onnx")
    htp = session.load(folder / "codes.onnx", "htp")
    theirs = htp.run(None, feed)
    steps = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in zip(ours, theirs, strict=True)])
    values = len(np.unique(np.concatenate([a.ravel() for a in theirs])))
    equal = f"{(steps == 0).mean():.3%} of {steps.size} codes equal (furthest {steps.max()}, {values} values)"
    return f"{equal}, {seconds:.2f} s"


if __name__ == "__main__":
    main(*sys.argv[1:])
