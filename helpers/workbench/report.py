"""Pictures and tables of an experiment: the network coloured by SQNR, what was tried, and one page for the drawer."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from helpers import plot, targets
from helpers.workbench.experiment import Experiment

TABLE = "line-height: 1.3; border-spacing: 10px 0"
WORST, BEST = 20, 50  # dB, the ends of the colours: 8 bits leave some 40 of a well-filled range


def png(fig: Figure) -> bytes:
    """`fig` as a PNG at the size it has in a notebook."""
    buffer = io.BytesIO()
    plot.save(fig, buffer)
    return buffer.getvalue()


def _map(ax, bench: Experiment, chosen: str | None) -> None:
    depth = list(bench.live.shared_scale)
    db = np.array([min(bench.sqnr(t), BEST + 10) for t in depth])
    colours = ScalarMappable(Normalize(WORST, BEST), "cividis").to_rgba(db)
    lines = 0.8 * ax.bbox.width / len(depth)  # points; bars would take ten times as long
    ax.vlines(range(len(depth)), 0, db, colors=colours, linewidths=lines)
    worst = int(np.argmin(db))
    ax.plot(worst, db[worst] + 2, "v", color=plot.RED, ms=6, label="worst")
    if chosen in depth:
        ax.plot(depth.index(chosen), db[depth.index(chosen)] + 2, "D", color=plot.BLUE, ms=5, label="chosen")
    ax.set(ylabel="SQNR, dB", xlabel="tensors, from input to output", ylim=(0, BEST + 22))
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", handletextpad=0)
    ax.margins(x=0.01)


def _worst(bench: Experiment, count: int) -> str:
    return "\n".join(f"{bench.sqnr(t):5.1f} dB  {t.removesuffix('_output_0')}" for t in bench.tensors[:count])


def network(bench: Experiment, chosen: str | None = None) -> Figure:
    """The tensors by depth, height and colour their SQNR as they are set now; dark and low is guilty."""
    fig = Figure(figsize=(2.6, 1.8), layout="constrained")
    _map(fig.add_subplot(), bench, chosen)
    return fig


def _history(axes, bench: Experiment) -> None:
    judged = [e for e in bench.history if e["metrics"]]
    at, htp = np.arange(len(judged)), np.array([targets.get(e["target"]).npu_codes for e in judged], bool)
    for ax, (key, name) in zip(axes, bench.task.history.items(), strict=False):
        value, low, high = np.array([e["metrics"][key] for e in judged], float).reshape(-1, 3).T
        ax.fill_between(at, low, high, color=plot.SKY, alpha=0.35, lw=0)
        ax.plot(at, value, "o-", color=plot.BLUE, ms=5, lw=1.5)
        ax.plot(at[htp], value[htp], "D", color=plot.ORANGE, ms=6)
        ax.set_title(name, fontsize=10)
        ax.set_xlim(-0.5, max(len(at) - 0.5, 4.5))
        ax.set_xlabel("what was tried" + (" (◆: as the HTP computes it)" if ax is axes[1] and np.any(htp) else ""))
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("over all pictures")


def history(bench: Experiment) -> Figure:
    """What was tried, step by step: the task's `history` metrics with 95 % intervals."""
    fig = Figure(figsize=(9, 2.3), layout="constrained")
    _history(fig.subplots(1, 3), bench)
    return fig


def page(bench: Experiment, target: str = "cpu") -> Figure:
    """One page: the busiest picture with both boxes, the network by guilt, what was changed, what came of it."""
    fig = Figure(figsize=(8, 10.5), layout="constrained")
    top, middle, bottom, text = fig.subfigures(4, 1, height_ratios=[4, 1.9, 2.2, 2.6])
    fig.suptitle(
        f"{bench.model.name} (SHA-256 {bench.sha256[:8]}…) in 8 bits, judged on {len(bench.pictures)} pictures",
        **plot.LITERAL,
    )
    ax = top.add_subplot()
    ax.imshow(np.asarray(Image.open(io.BytesIO(png(overlay(bench, bench.busiest, target))))))
    ax.set_axis_off()
    _map(middle.add_subplot(), bench, None)
    _history(bottom.subplots(1, 3), bench)
    changed = [f"{t}   {lo:.4g} … {hi:.4g}   {bench.dtype(t)}" for t, (lo, hi) in bench.settings["ranges"].items()]
    changed += [f"{t}   {bench.dtype(t)}" for t in bench.settings["a16"] if t not in bench.settings["ranges"]]
    changed += [] if bench.settings["per_channel"] else ["weights: one scale for each tensor"]
    shown = changed[:10] + [f"… and {len(changed) - 10} more"] * (len(changed) > 10) or ["nothing"]
    for x, title, lines in ((0.02, "Changed", "\n".join(shown)), (0.55, "Lowest SQNR now", _worst(bench, 10))):
        text.text(x, 0.95, title, va="top", weight="bold", fontsize=10)
        text.text(x, 0.85, lines, va="top", fontsize=7, family="monospace", **plot.LITERAL)
    return fig


def still(bench: Experiment) -> Figure:
    """What stays of the workbench where no kernel runs: one picture's boxes, the network, the history."""
    fig = Figure(figsize=(8, 4.6), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[1.15, 1])
    ax = left.add_subplot()
    ax.imshow(np.asarray(Image.open(io.BytesIO(png(overlay(bench, bench.busiest, width=4.4, height=4.4))))))
    ax.set_axis_off()
    right.suptitle("Which tensor's range would you drag?", fontsize=11)
    upper, lower = right.subfigures(2, 1, height_ratios=[1.2, 1])
    _map(upper.add_subplot(), bench, None)
    lower.text(0.05, 0.95, _worst(bench, 8), va="top", fontsize=8, family="monospace", **plot.LITERAL)
    return fig


def save_page(bench: Experiment, path) -> Path:
    """Write `page` as a PNG."""
    path = bench.writable(path)
    path.write_bytes(png(page(bench)))
    return path


def overlay(bench: Experiment, index: int, target: str = "cpu", width: float = 8, height: float = 4.3) -> Figure:
    """The task's picture of one input with the settings as they are, within width × height inches."""
    fig = bench.task.picture(bench.pictures[index], bench.reference[index], bench.detect(index, target), bench.names)
    fig.set_size_inches(width, height)
    fig.set_layout_engine("none")  # a third of the time that it takes to draw
    fig.axes[0].set_position([0, 0, 1, 1 - 0.28 / height])
    fig.axes[0].title.set_fontsize(min(11, 2.4 * width))
    return fig


def img(figure, alt: str) -> str:
    """A figure as HTML, which unlike an Image widget has words for a screen reader."""
    data = base64.b64encode(png(figure)).decode()
    return f'<img alt="{html.escape(alt)}" decoding="sync" src="data:image/png;base64,{data}">'


def table(columns: dict[str, dict], words: dict[str, str]) -> str:
    """Metrics with their 95 % intervals as an HTML table: a column for each {title: metrics}, a row for each of
    `words` {key: what it is}."""
    found = [("over all inputs (95 % interval)", *columns)]
    for key, name in words.items():
        cells = ("{:.3f} ({:.3f} … {:.3f})".format(*m[key]) for m in columns.values())
        found.append((name, *("nothing to compare" if "nan" in cell else cell for cell in cells)))
    return rows(found)


def rows(rows) -> str:
    """Cells as an HTML table, the first row its head."""
    tags = ["th", *["td"] * (len(rows) - 1)]
    lines = ("".join(f"<{t}>{html.escape(str(c))}</{t}>" for c in row) for t, row in zip(tags, rows, strict=True))
    return f"<table style='{TABLE}'>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
