"""Which few tensors to give 16 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tqdm.auto import tqdm

from helpers import qdq
from helpers.graph import float_model
from helpers.repair.holdout import again
from helpers.repair.ranges import silu_blocks
from helpers.tasks import drift_against, reference_outputs

_SHARE = 0.05  # of the activation tensors, 16 bits wide


def search_a16(fp32, ranges, wide, feeds, *, share: float = _SHARE, tries: int = 4, target: str = "cpu") -> list[dict]:
    """Which tensors of a cut YOLOv8 to give 16 bits: the Pareto front [{"a16": tensors, "drift": Drift}], growing.

    Greedy: of the first `tries` SiLU blocks (x, σ, x·σ and a Split behind) from the input on that are left, and the
    DFL logits, the one that lowers `Drift.total` most joins, until `share` of all tensors is spent (copies of 8-bit
    inputs counted) or nothing helps. The first, because what goes wrong there is carried through everything behind.
    `wide` {tensor: (rmin, rmax)} is what 16 bits cover. `target`: 'cpu' is quick, 'htp' exact; 'integer' has no uint16.
    """
    model, ranges = float_model(fp32), dict(ranges)
    splits = {n.input[0]: list(n.output) for n in model.graph.node if n.op_type == "Split"}
    blocks = [[*b, *splits.get(b[2], [])] for b in silu_blocks(model)]
    outputs = [o.name for o in model.graph.output]
    feeds, limit, front = again(feeds), int(share * len(ranges)), []
    seen = reference_outputs(fp32, feeds)
    with tempfile.TemporaryDirectory() as work:

        def measure(names):
            path = Path(work) / "try.onnx"
            qdq.quantize_model(fp32, path, ranges | {t: wide[t] for t in names}, a16=names)
            found = [qp.dtype for qp in qdq.list_qparams(path).values() if qp.axis is None]
            return drift_against(seen, path, feeds, target), found.count("uint16")

        chosen = []
        front.append({"a16": [], "drift": measure([])[0]})
        with tqdm(desc="search_a16", unit="model") as bar:
            while True:
                left = [b for b in blocks if b[0] not in chosen][:tries] + [outputs[::2]] * (outputs[0] not in chosen)
                found = []
                for block in [b for b in left if len(chosen) + len(b) <= limit]:
                    value, count = measure(chosen + block)
                    found += [(value, block)] * (count <= limit)  # 8-bit inputs are copied to 16 bits: copies count too
                    bar.update()
                if not found:
                    break
                best, block = min(found, key=lambda f: f[0].total)
                if best.total >= front[-1]["drift"].total:
                    break
                chosen = chosen + block
                front.append({"a16": chosen, "drift": best})
    return front
