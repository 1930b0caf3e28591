"""Which few tensors to give 16 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from helpers import qdq
from helpers.graph import Model, StrPath, float_model
from helpers.repair.holdout import again
from helpers.repair.ranges import silu_blocks
from helpers.tasks import recognise
from helpers.tasks.task import Range

SHARE = 0.05  # of the activation tensors, 16 bits wide


def search_a16(
    fp32: StrPath,
    ranges: Mapping[str, Range],
    wide: Mapping[str, Range],
    feeds: Any,
    *,
    share: float = SHARE,
    tries: int = 4,
    target: str = "cpu",
) -> list[dict[str, Any]]:
    """Which tensors to give 16 bits: the Pareto front [{"a16": tensors, "drift": the task's drift}], growing.

    Greedy: of the first `tries` SiLU blocks (x, σ, x·σ and a Split behind) from the input on that are left, and what
    the task puts first (a detector's DFL logits), the one that lowers the drift's `total` most joins, until `share`
    of all tensors is spent (copies of 8-bit inputs counted) or nothing helps. The first, because what goes wrong there
    is carried through everything behind. `wide` {tensor: (rmin, rmax)} is what 16 bits cover. `target`: 'cpu' is
    quick, 'htp' exact; 'integer' has no uint16. Where there is no SiLU and the task names nothing, nothing is tried.

    Raises ValueError as `holdout.again`, `Task.reference_outputs` and `qdq.quantize_model` do.
    """
    model, feeds, limit = float_model(fp32), again(feeds), int(share * len(ranges))
    task = recognise(model)
    seen = task.reference_outputs(fp32, feeds)
    blocks, first = _blocks(model), task.wide_first(model)

    def measure(names: list[str]) -> tuple[Any, int]:
        """(drift, number of 16-bit tensors) with these at 16 bits."""
        with tempfile.TemporaryDirectory() as work:
            mixed = {**ranges, **{t: wide[t] for t in names}}
            path = qdq.quantize_model(fp32, Path(work) / "try.onnx", mixed, a16=names)
            dtypes = [qp.dtype for qp in qdq.list_qparams(path).values() if qp.axis is None]
            return task.drift_against(seen, path, feeds, target), dtypes.count("uint16")

    chosen: list[str] = []
    least, _ = measure([])
    front: list[dict[str, Any]] = [{"a16": [], "drift": least}]
    with tqdm(desc="search_a16", unit="model") as bar:
        while True:
            left = [block for block in blocks if block[0] not in chosen][:tries]
            left += [group for group in first if group[0] not in chosen]
            found = []
            for block in [b for b in left if len(chosen) + len(b) <= limit]:
                drift, count = measure(chosen + block)
                bar.update()
                if count <= limit:  # 8-bit inputs are copied to 16 bits, and the copies count
                    found.append((drift, block))
            if not found:
                return front
            best, block = min(found, key=lambda f: f[0].total)
            if best.total >= least.total:
                return front
            chosen, least = chosen + block, best
            front.append({"a16": chosen, "drift": best})


def _blocks(model: Model) -> list[list[str]]:
    """The tensors of each SiLU, and those of a Split that takes its output apart."""
    splits = {n.input[0]: list(n.output) for n in model.nodes if n.op_type == "Split"}
    return [[x, gate, product, *splits.get(product, [])] for x, gate, product in silu_blocks(model)]
