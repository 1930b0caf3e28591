"""How well and how fast `helpers.integer` computes what the HTP computes: YOLOv8n's body, A8W8, on COCO128.

    INT8_ASSETS=<folder with yolov8n.pt and coco128/> python tests/benchmarks/integer.py [runs]

Without those assets it takes the course's own model and scenes. Prints, per output, the share of equal codes and the
largest distance to the HTP of the integers and of ONNX Runtime's CPU (optimisation off), then the time per picture
of all three, interleaved in one run: median (smallest to largest), and the integers' peak memory.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1] / "integer"))
sys.path.insert(0, str(Path(__file__).parents[2]))
from nets import strip

from helpers import affine, assets, integer, qdq, session, vision

PEAK = """
import re, sys, numpy as np
from helpers import integer
integer.run(sys.argv[1], {sys.argv[2]: np.load(sys.argv[3])})
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def main(runs: int = 5) -> None:
    source, calibration, judging = assets.course()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        made = qdq.calibrate_and_quantize(source, calibration[:8], folder, "percentile")
        cut, int8 = made.fp32, made.int8
        bare = folder / "codes.onnx"
        onnx.save(strip(onnx.load(int8)), bare)
        model, htp, cpu = integer.Simulator(int8), session.load(bare, "htp"), session.load(bare, "cpu")
        name = model.inputs[0].name
        feeds = [
            {name: affine.quantize(f[name], model.qparams[name])} for f in vision.Feeds(judging[: min(runs, 4)], cut)
        ]
        print(f"{source.name}, {feeds[0][name].shape[-1]} px, {len(feeds)} pictures")
        compute = {
            "HTP, emulated": lambda feed: htp.run(None, feed),
            "integer": lambda feed: list(model.run(feed).values()),
            "ORT CPU": lambda feed: cpu.run(None, feed),
        }
        seconds = {which: [] for which in compute}
        outputs = {which: [] for which in compute}
        for k in range(runs):
            for which, call in compute.items():
                start = time.perf_counter()
                out = call(feeds[k % len(feeds)])
                seconds[which].append(time.perf_counter() - start)
                if k < len(feeds):
                    outputs[which].append(out)

        print(f"{'equal codes (largest distance)':<42}{'integer':>18}{'ORT CPU':>18}")
        for o, value in enumerate(onnx.load(bare).graph.output):
            cells = []
            for which in ("integer", "ORT CPU"):
                pairs = zip(outputs["HTP, emulated"], outputs[which], strict=True)
                steps = np.abs(np.stack([h[o].astype(int) - x[o] for h, x in pairs]))
                cells.append(f"{(steps == 0).mean():>12.3%} ({steps.max()})".rjust(18))
            print(f"{value.name:<42}{''.join(cells)}")
        for which, t in seconds.items():
            ratio = np.median(t) / np.median(seconds["HTP, emulated"])
            print(
                f"{which:<16}{np.median(t):6.2f} s a picture ({min(t):.2f} to {max(t):.2f}), {ratio:.2f} of the HTP's"
            )
        np.save(folder / "x.npy", feeds[0][name])
        peak = subprocess.run(
            [sys.executable, "-c", PEAK, int8, name, folder / "x.npy"], capture_output=True, text=True, check=True,
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        print(f"integer: at most {int(peak.stdout) / 1e6:.2f} GB of memory, Python and its imports included")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
