"""Proof of what a quantized model does: the same inputs on every target of this machine, codes compared one by one.

proof.json holds

| key | what |
|---|---|
| format, made | 1; when, UTC |
| machine, versions | system, machine, processor; Python and the packages that compute |
| model | name, task; of fp32.onnx and int8.onnx the bytes and SHA-256 |
| inputs | name and SHA-256 of each file |
| targets | for each: `is` (a sentence), `emulated`, `refused` (a sentence, else null), `placed` ([nodes on it, all nodes] or null), `outputs` ({output: sqnr_db, cosine, note} against FP32; sqnr_db is null where `note` says why), `agreement` (the task's numbers against FP32, null where there is none), `latency_ms` (median, low, high, runs, options) or null with `latency_note`, `codes_sha256` ({tensor: the first 16 digits, over all inputs}) |
| codes | {"one = other": equal, of, largest_step, first_difference (a tensor or null), tensors {tensor: [equal, of, largest step]}} |
| not_compared | tensors whose codes the NPU does not keep (fused into the operator behind), or that a target does not show |

Two proofs of the same model and inputs, from two machines, agree where their `codes_sha256` do.
"""  # noqa: E501

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
import tempfile
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from helpers import plot, qdq, targets, tasks
from helpers.error import lsb_diff
from helpers.graph import Feed, Model, float_name, refuse_overwrite, save_json, sha256
from helpers.qdq.edit import FUSED_BEHIND_CONV
from helpers.targets import Target
from helpers.tasks.feeds import FeedList
from helpers.workbench.evaluation import CONSTANT, EQUAL, OutputError

Codes = dict[str, np.ndarray]  # {tensor: codes}
_NOTES = {CONSTANT: "FP32 gives one constant value here", EQUAL: "equal to FP32"}
PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-qnn")


def prove(folder: Path, inputs: Sequence[Path], out: Path, task: tasks.Task, name: str) -> dict[str, Any]:
    """Run what `quantize` wrote into `folder` on every target, and write `out`/proof.json and `out`/proof.png.

    `name` is what the model was called. Returns what proof.json holds, see above. Raises FileNotFoundError where
    `folder` holds no pair of models, and as `Task.feeds` does.
    """
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    refuse_overwrite([out / "proof.json", out / "proof.png"], [fp32, int8, *inputs])
    feeds, activations = task.feeds(inputs, fp32), _activations(Model.of(int8))
    reference = _outputs(fp32, feeds)
    found = _about(fp32, int8, inputs, task, name)
    found["targets"], codes = {}, dict[str, list[Codes]]()
    with tempfile.TemporaryDirectory() as work:
        shown = _shown(Model.of(int8))
        exposed = qdq.expose(int8, shown, Path(work) / "exposed.onnx")
        for target in tqdm([targets.get(known) for known in targets.targets()], unit="target", leave=False):
            record = {"is": target.describe(), "emulated": target.emulated(), "refused": None, "placed": None}
            found["targets"][target.name] = record
            try:
                record |= _on(target, int8, feeds, reference)
                made = _codes(target, int8, exposed, shown, feeds)
            except (ValueError, RuntimeError) as e:
                record["refused"] = str(e).replace(str(exposed), int8.name).replace(str(int8), int8.name)
                continue
            record["agreement"] = _agreement(task, fp32, int8, target, inputs)
            record["codes_sha256"], codes[target.name] = _digests(made), made
    compared = set.intersection(*(set(each[0]) for each in codes.values())) if codes else set()
    found["codes"] = {f"{a} = {b}": _compare(codes[a], codes[b]) for a, b in combinations(codes, 2)}
    found["not_compared"] = [t for t in activations if t not in compared]
    page = plot.proof(found)
    save_json(found, out / "proof.json")
    plot.stack_figures([page], out / "proof.png")
    return found


def _about(fp32: Path, int8: Path, inputs: Sequence[Path], task: tasks.Task, name: str) -> dict[str, Any]:
    """What was proved, where and when."""
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in (fp32, int8)}
    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    versions = {p: importlib.metadata.version(p) for p in PACKAGES if p in installed}
    return {
        "format": 1,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "machine": platform.machine(),
            "processor": platform.processor(),
        },
        "versions": {"python": platform.python_version()} | versions,
        "model": {"name": name, "task": task.name, **files},
        "inputs": [{"name": p.name, "sha256": sha256(p)} for p in inputs],
    }


def _on(target: Target, int8: Path, feeds: FeedList, reference: list[list[np.ndarray]]) -> dict[str, Any]:
    """What one target made of the graph as it is: placement, outputs against FP32, latency."""
    session, placed = targets.load(int8, target.name), None
    if target.proves_placement:
        providers = list(targets.placement(session).values())
        placed = [sum(p == targets.QNN for p in providers), len(providers)]
    names = [o.name for o in session.get_outputs()]
    made = [session.run(None, feed) for feed in feeds]
    del session
    outputs = {
        name: _against(np.stack([r[k] for r in reference]), np.stack([m[k] for m in made]))
        for k, name in enumerate(names)
    }
    return {"placed": placed, "outputs": outputs} | _latency(target, int8, feeds[0])


def _outputs(fp32: Path, feeds: Iterable[Feed]) -> list[list[np.ndarray]]:
    """What the float model gives for each feed."""
    session = targets.load(fp32)
    return [session.run(None, feed) for feed in feeds]


def _against(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """SQNR and cosine of one output, or why there is none."""
    error = OutputError()
    error.add(a, b)
    found = error.record()
    return {"sqnr_db": found["sqnr_db"], "cosine": found["cosine"], "note": _NOTES.get(found["note"])}


def _latency(target: Target, int8: Path, feed: Feed) -> dict[str, Any]:
    """Its time, where it is the NPU."""
    if target.emulated() or not target.npu_codes:
        why = "emulated here, so its time says nothing" if target.emulated() else "not the NPU"
        return {"latency_ms": None, "latency_note": f"not measured: {why}"}
    return {"latency_ms": targets.latency(int8, feed, target.name)._asdict(), "latency_note": None}


def _agreement(task: tasks.Task, fp32: Path, int8: Path, target: Target, inputs: Sequence[Path]) -> dict[str, Any]:
    """The task's numbers of the results, without labels; null where FP32 gives nothing to compare."""
    before, after = task.runner(fp32), task.runner(int8, target.name)
    results = [[runner.results(p) for p in inputs] for runner in (before, after)]
    metrics = task.agreement(*results)
    values = {key: float(metrics[key].value) for key in task.shown}
    return {key: round(value, 6) if np.isfinite(value) else None for key, value in values.items()}


def _activations(graph: Model) -> list[str]:
    """Every quantized activation in graph order, by its name in the float graph."""
    order = [float_name(n.input[0]) for n in graph.nodes if n.op_type == "QuantizeLinear"]
    return list(dict.fromkeys(t for t in order if t not in graph.constants))


def _shown(graph: Model) -> list[str]:
    """The activations whose codes the NPU keeps: not those between a convolution and what is computed with it."""
    convs = {float_name(n.output[0]) for n in graph.nodes if n.op_type == "Conv"}
    fused = {graph.float_names.get(n.input[0]) for n in graph.nodes if n.op_type in FUSED_BEHIND_CONV}
    return [t for t in _activations(graph) if t not in convs & fused]


def _codes(target: Target, int8: Path, exposed: Path, shown: Sequence[str], feeds: Iterable[Feed]) -> list[Codes]:
    """Codes of the tensors `shown` for each feed; the target is opened once."""
    simulator = target.simulator(int8)
    if simulator is not None:
        runs = (simulator.run(feed, every=True) for feed in feeds)
        return [{t: values[t] for t in shown if t in values} for values in runs]
    session = targets.load(exposed, target.name)
    names = [o.name for o in session.get_outputs()][-len(shown) :]
    return [dict(zip(shown, session.run(names, feed), strict=True)) for feed in feeds]


def _compare(one: Sequence[Codes], other: Sequence[Codes]) -> dict[str, Any]:
    """Equal codes of each tensor that both show, over all inputs."""
    tensors = {}
    for name in (t for t in one[0] if t in other[0]):
        steps = np.stack([np.abs(lsb_diff(a[name], b[name])) for a, b in zip(one, other, strict=True)])
        tensors[name] = [int((steps == 0).sum()), steps.size, int(steps.max(initial=0))]
    return {
        "equal": sum(equal for equal, _, _ in tensors.values()),
        "of": sum(count for _, count, _ in tensors.values()),
        "largest_step": max((step for _, _, step in tensors.values()), default=0),
        "first_difference": next((name for name, (equal, count, _) in tensors.items() if equal != count), None),
        "tensors": tensors,
    }


def _digests(codes: Sequence[Codes]) -> dict[str, str]:
    return {t: hashlib.sha256(b"".join(c[t].tobytes() for c in codes)).hexdigest()[:16] for t in codes[0]}
