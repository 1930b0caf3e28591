"""The page of a proof: targets in a table, codes compared by depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plot.style import BLUE, GREEN, GREY, LITERAL, ORANGE, PURPLE, RED, SKY, NotebookFigure

COLOURS, MARKERS = (ORANGE, BLUE, GREEN, RED, PURPLE, SKY), "os^Dv*"


def proof(found: dict[str, Any]) -> Figure:
    """One page of what proof.json holds: what ran where, how near FP32, and which codes differ, tensor by tensor."""
    rows = len(found["targets"]) + len(found["codes"])
    fig = NotebookFigure(figsize=(14, 6.4 + 0.3 * rows), layout="constrained")
    top, middle, bottom = fig.subplots(3, 1, height_ratios=[len(found["targets"]) + 1.6, len(found["codes"]) + 1.6, 9])
    timed = any(t.get("latency_ms") for t in found["targets"].values())
    told = "Each target against FP32 on the CPU" + ("" if timed else "; no NPU here, so no latency")
    _table(top, told, *_target_rows(found["targets"]))
    _table(middle, "Codes of every quantized activation that two targets show", *_code_rows(found["codes"]))
    _by_depth(bottom, found["codes"])
    fig.suptitle(_title(found), fontsize=14, **LITERAL)
    fig.supxlabel(_foot(found), fontsize=9, color=GREY, **LITERAL)
    return fig


def _title(found: dict[str, Any]) -> str:
    """The claim: codes of the best pair, the NPU's own where there is one."""
    name = found["model"]["name"]
    if not found["codes"]:
        return f"{name}: one target alone, no codes to compare"
    pair, codes = max(found["codes"].items(), key=lambda item: item[1]["equal"] / item[1]["of"])
    one, other = (_called(found, target) for target in pair.split(" = "))
    return f"{name}: {codes['equal']:,} of {codes['of']:,} codes equal on {one} and {other}"


def _called(found: dict[str, Any], target: str) -> str:
    names = {"cpu": "CPU", "integer": "integer (NumPy)", "htp": "HTP"}
    emulated = target == "htp" and found["targets"][target]["emulated"]
    return names.get(target, target) + (", emulated" if emulated else "")


def _target_rows(targets: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    keys = next((list(t["agreement"]) for t in targets.values() if t.get("agreement")), [])[:3]
    head = ["target", "nodes on it", "worst output", *(k.replace("_", " ") for k in keys), "latency, ms"]
    rows = []
    for name, t in targets.items():
        if t["refused"]:
            rows.append([name, "refused: " + _short(t["refused"], 130), *[""] * (len(head) - 2)])
            continue
        placed = "–" if t["placed"] is None else "{} of {}".format(*t["placed"])
        agreement = ["–" if (v := t["agreement"].get(k)) is None else f"{v:.4g}" for k in keys]
        rows.append([name + (" (emulated)" if t["emulated"] and t["placed"] else ""), placed, _worst(t["outputs"])])
        rows[-1] += [*agreement, _latency(t)]
    return head, rows


def _worst(outputs: dict[str, Any]) -> str:
    known = [o["sqnr_db"] for o in outputs.values() if o["sqnr_db"] is not None]
    return f"{min(known):.1f} dB" if known else next(iter(outputs.values()))["note"]


def _latency(target: dict[str, Any]) -> str:
    measured = target["latency_ms"]
    if measured is None:
        return "not measured"
    mode = ", ".join(measured["options"].values())
    return f"{measured['median']:.2f} ({measured['low']:.2f}–{measured['high']:.2f}){', ' + mode if mode else ''}"


def _code_rows(codes: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for pair, c in codes.items():
        share = f"{100 * c['equal'] / c['of']:.3f} %"
        first = "none differs" if c["first_difference"] is None else c["first_difference"]
        equal = f"{c['equal']:,} of {c['of']:,}"
        rows.append([pair, equal, share, str(c["largest_step"]), str(len(c["tensors"])), _short(first, 48)])
    return ["pair", "codes equal", "share", "largest step", "tensors", "first that differs"], rows


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _table(ax: Axes, title: str, head: list[str], rows: list[list[str]]) -> None:
    """Rows of text under each other, the columns as wide as what they hold."""
    ax.set_axis_off()
    ax.set_title(title, fontsize=11, loc="left")
    measured = [head, *(row for row in rows if not row[1].startswith("refused"))]
    widths = np.array([max(map(len, column)) for column in zip(*measured, strict=True)])
    left = np.concatenate([[0], np.cumsum(widths + 3)[:-1]]) / max((widths + 3).sum(), 120)
    for y, row in enumerate([head, *rows]):
        for x, text in zip(left, row, strict=True):
            style: dict[str, Any] = {"weight": "bold"} if y == 0 else {}
            ax.text(x, 1 - (y + 0.5) / (len(rows) + 1), text, va="center", fontsize=10, **style, **LITERAL)


def _by_depth(ax: Axes, codes: dict[str, Any]) -> None:
    """The share of codes that differ, a mark for each tensor in the order of the graph."""
    longest: dict[str, Any] = max((c["tensors"] for c in codes.values()), key=len, default={})
    place = {name: k for k, name in enumerate(longest)}
    for k, (pair, c) in enumerate(codes.items()):
        differ = {name: 100 * (1 - equal / count) for name, (equal, count, _) in c["tensors"].items() if name in place}
        style: dict[str, Any] = {"marker": MARKERS[k % 6], "color": COLOURS[k % 6], "s": (70, 34, 20)[k % 3]}
        ax.scatter(
            [place[name] for name in differ], list(differ.values()), label=pair, clip_on=False, alpha=0.75, **style
        )
    ax.locator_params(axis="x", integer=True)
    ax.set_yscale("symlog", linthresh=0.01)
    ax.set_ylim(0, 100)
    ax.set_yticks([0, 0.01, 0.1, 1, 10, 100], ["0", "0.01", "0.1", "1", "10", "100"])
    ax.set(xlabel="quantized activation, in the order of the graph", ylabel="codes that differ, %")
    ax.set_title("Tensor by tensor: at 0 all codes are equal", fontsize=11, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    if codes:
        ax.legend(frameon=False, fontsize=10)


def _foot(found: dict[str, Any]) -> str:
    machine, versions = found["machine"], found["versions"]
    where = f"{machine['system']} {machine['machine']}"
    tools = ", ".join(f"{name} {version}" for name, version in versions.items())
    files = ", ".join(f"{name} {found['model'][name]['sha256'][:12]}…" for name in ("fp32.onnx", "int8.onnx"))
    return f"{len(found['inputs'])} inputs · {found['made']} · {where} · {tools}\nSHA-256: {files}"
