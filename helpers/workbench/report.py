"""Pictures and tables of an experiment: the network coloured by SQNR, what was tried, and one page for the drawer."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from helpers import plot, targets
from helpers.graph import written_whole
from helpers.plot.style import LITERAL, NotebookFigure
from helpers.tasks import Task
from helpers.widgets.frame import img, png
from helpers.workbench.experiment import WEIGHTS, Experiment, Metrics

WORST, BEST = 20, 50  # dB, the ends of the colours: 8 bits leave some 40 of a well-filled range


def _draw_network(ax: Axes, experiment: Experiment, chosen: str | None) -> None:
    depth = list(experiment.patched.shared_scale)
    db = np.array([min(experiment.sqnr(t), BEST + 10) for t in depth])
    colours = ScalarMappable(Normalize(WORST, BEST), "cividis").to_rgba(db).tolist()
    lines = 0.8 * ax.bbox.width / len(depth)  # points; bars would take ten times as long
    ax.vlines(range(len(depth)), 0, db, colors=colours, linewidths=lines)
    worst = int(np.argmin(db))
    ax.plot(worst, db[worst] + 2, "v", color=plot.RED, ms=6, label="worst")
    if chosen in depth:
        at = depth.index(chosen)
        ax.plot(at, db[at] + 2, "D", color=plot.BLUE, ms=5, label="chosen")
    ax.set(ylabel="SQNR, dB", xlabel="tensors, from input to output", ylim=(0, BEST + 22))
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", handletextpad=0)
    ax.locator_params(axis="x", integer=True)
    ax.margins(x=max(0.01, 0.6 / len(depth)))  # the first and the last whole, however few there are


def _draw_history(fig: Figure | SubFigure, experiment: Experiment) -> None:
    judged = [e for e in experiment.history if e["metrics"]]
    at, htp = np.arange(len(judged)), np.array([targets.get(e["target"]).npu_codes for e in judged], bool)
    shown = experiment.task.history
    axes = fig.subplots(1, len(shown), squeeze=False)[0]
    for ax, (key, name) in zip(axes, shown.items(), strict=True):
        value, low, high = np.array([e["metrics"][key] for e in judged], float).reshape(-1, 3).T
        ax.fill_between(at, low, high, color=plot.SKY, alpha=0.35, lw=0)
        ax.plot(at, value, "o-", color=plot.BLUE, ms=5, lw=1.5)
        ax.plot(at[htp], value[htp], "D", color=plot.ORANGE, ms=6)
        ax.set_title(name, fontsize=10)
        ax.set_xlim(-0.5, max(len(at) - 0.5, 4.5))
        ax.set_xlabel("what was tried")
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        ax.grid(alpha=0.25)
    if np.any(htp):
        axes[len(axes) // 2].set_xlabel("what was tried (◆: as the HTP computes it)")
    axes[0].set_ylabel(f"over all {experiment.task.words.inputs}")


def _draw_results(ax: Axes, experiment: Experiment, target: str = "cpu", width: float = 8, height: float = 4.3) -> None:
    """The `overlay` of the busiest input, as a picture in another."""
    image = png(overlay(experiment, experiment.busiest, target, width, height))
    ax.imshow(np.asarray(Image.open(io.BytesIO(image))))
    ax.set_axis_off()


def _lowest(experiment: Experiment, count: int) -> str:
    tensors = experiment.tensors[:count]
    return "\n".join(f"{experiment.sqnr(t):5.1f} dB  {t.removesuffix('_output_0')}" for t in tensors)


def changes(experiment: Experiment) -> list[str]:
    """What differs from the start, a line each; at most ten, and how many more."""
    settings = experiment.settings
    lines = [f"{t}   {lo:.4g} … {hi:.4g}   {experiment.dtype(t)}" for t, (lo, hi) in settings["ranges"].items()]
    lines += [f"{t}   {experiment.dtype(t)}" for t in settings["a16"] if t not in settings["ranges"]]
    weights = settings["weight"], settings["per_channel"]
    if weights != ("int8", True):
        lines.append(f"weights: {WEIGHTS[weights]}")
    if len(lines) > 10:
        lines[10:] = [f"… and {len(lines) - 10} more"]
    return lines or ["as at the start"]


def network(experiment: Experiment, chosen: str | None = None) -> Figure:
    """The tensors by depth, height and colour their SQNR as they are set now; the dark and low ones lose most."""
    fig = Figure(figsize=(2.5, 1.7), layout="constrained")
    _draw_network(fig.add_subplot(), experiment, chosen)
    return fig


def history(experiment: Experiment) -> Figure:
    """What was tried, step by step: the task's `history` metrics with 95 % intervals."""
    fig = NotebookFigure(figsize=(9, 1.9), layout="constrained")
    _draw_history(fig, experiment)
    return fig


def page(experiment: Experiment, target: str = "cpu") -> Figure:
    """One page: the busiest input with both results, the network by SQNR, what was changed, what came of it."""
    fig = NotebookFigure(figsize=(8, 10.5), layout="constrained")
    parts = fig.subfigures(4, 1, squeeze=False, height_ratios=[4, 1.9, 2.2, 2.6])
    top, middle, bottom, text = parts[:, 0]
    judged = f"judged on {len(experiment.inputs)} {experiment.task.words.inputs}"
    fig.suptitle(f"{experiment.model.name} (SHA-256 {experiment.sha256[:8]}…), {judged}", **LITERAL)
    _draw_results(top.add_subplot(), experiment, target)
    _draw_network(middle.add_subplot(), experiment, None)
    _draw_history(bottom, experiment)
    columns = (0.02, "Changed", "\n".join(changes(experiment))), (0.55, "Lowest SQNR now", _lowest(experiment, 10))
    for x, title, lines in columns:
        text.text(x, 0.95, title, va="top", weight="bold", fontsize=10)
        text.text(x, 0.85, lines, va="top", fontsize=7, family="monospace", **LITERAL)
    return fig


def still(experiment: Experiment) -> Figure:
    """What stays of the workbench where no kernel runs: one input's results, the network, the lowest SQNRs."""
    fig = NotebookFigure(figsize=(8, 4.6), layout="constrained")
    left, right = fig.subfigures(1, 2, squeeze=False, width_ratios=[1.15, 1])[0]
    _draw_results(left.add_subplot(), experiment, width=4.4, height=4.4)
    right.suptitle("Which tensor's range would you drag?", fontsize=11)
    upper, lower = right.subfigures(2, 1, squeeze=False, height_ratios=[1.2, 1])[:, 0]
    _draw_network(upper.add_subplot(), experiment, None)
    lower.text(0.05, 0.95, _lowest(experiment, 8), va="top", fontsize=8, family="monospace", **LITERAL)
    return fig


def save_page(experiment: Experiment, path: str | Path) -> Path:
    """Write `page` as a PNG."""
    with written_whole(experiment.writable(path)) as part:
        part.write_bytes(png(page(experiment)))
    return Path(path)


def overlay(experiment: Experiment, index: int, target: str = "cpu", width: float = 8, height: float = 4.3) -> Figure:
    """The task's picture of one input with the settings as they are, width × height inches."""
    test = experiment.results(index, target)
    fig = experiment.task.picture(experiment.inputs[index], experiment.reference[index], test, experiment.names)
    fig.set_size_inches(width, height)
    ax = fig.axes[0]
    if _image_alone(fig):  # it fills the figure below its title
        fig.set_layout_engine("none")  # a third of the time that it takes to draw
        ax.set_position((0, 0, 1, 1 - 0.28 / height))
    ax.title.set_fontsize(min(11, 2.4 * width))
    return fig


def _image_alone(figure: Figure) -> bool:
    return len(figure.axes) == 1 and not figure.axes[0].axison


def photo(experiment: Experiment, index: int, target: str, width: float, height: float) -> str:
    """`overlay` as HTML, an image's title above it in the page's own letters."""
    figure = overlay(experiment, index, target, width, height)
    ax, words = figure.axes[0], experiment.task.words
    title = ax.get_title()
    if not _image_alone(figure):
        return img(figure)
    ax.set_title("")
    ax.set_position((0, 0, 1, 1))
    figure.patch.set_alpha(0)  # no white beside the image on a dark page
    return f"<div>{html.escape(title)}</div>{img(figure, f'{words.results} of FP32 and INT8: {title}', 'photo')}"


def table(columns: Mapping[str, Metrics], task: Task) -> str:
    """Metrics as an HTML table: a column for each {title: metrics}, the last one's 95 % interval, and what changed from
    the first to the last; a row for each of the task's `shown`."""
    first, *_, last = columns.values() if len(columns) > 1 else 2 * list(columns.values())
    found = [(f"over all {task.words.inputs}", *columns, "95 % interval", "change")]
    for key, name in task.shown.items():
        value, low, high = last[key]
        cells = [f"{metrics[key][0]:.3f}" for metrics in columns.values()]
        cells += [f"{low:.3f} … {high:.3f}", f"{value - first[key][0]:+.3f}"]
        found.append((name, *(f"no {task.words.result}" if "nan" in cell else cell for cell in cells)))
    return rows(found)


def steps(experiment: Experiment, count: int = 8) -> str:
    """The last judged steps of the history as an HTML table, the latest first: what was changed, and what it did."""
    judged = [e for e in experiment.history if e["metrics"]]
    found = [("step", "what was changed", "on the", *experiment.task.history.values())]
    for k in reversed(range(max(0, len(judged) - count), len(judged))):
        entry, before = judged[k], judged[max(k - 1, 0)]
        values = [(entry["metrics"][key][0], before["metrics"][key][0]) for key in experiment.task.history]
        cells = ("–" if np.isnan(now - was) else f"{now:.3f} ({now - was:+.3f})" for now, was in values)
        found.append((str(k), entry["what"], targets.get(entry["target"]).where, *cells))
    return rows(found)


def rows(cells: Sequence[Sequence[object]]) -> str:
    """Cells as an HTML table, the first row its head.

    >>> rows([("box", "IoU"), ("<cat>", 0.5)])
    '<table><tr><th>box</th><th>IoU</th></tr><tr><td>&lt;cat&gt;</td><td>0.5</td></tr></table>'
    """
    tags = ["th", *["td"] * (len(cells) - 1)]
    lines = ("".join(f"<{t}>{html.escape(str(c))}</{t}>" for c in row) for t, row in zip(tags, cells, strict=True))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
