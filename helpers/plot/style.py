"""Colours that everybody can tell apart, and figures at notebook width."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers.graph import StrPath, written_whole

# Okabe & Ito (2008), told apart with every common colour vision deficiency.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#666666",
)  # fmt: skip
# Names that come from files, for `$` may stand in them, and Matplotlib would set a formula or fail.
LITERAL: dict[str, Any] = {"parse_math": False}


class NotebookFigure(Figure):
    """A figure that a notebook shows with its titles as alternative text, for readers who cannot see it."""

    def alt_text(self) -> str:
        """The claim of the picture and what its axes hold.

        >>> fig, ax = new_figure()
        >>> _ = ax.set(title="Noise falls", xlabel="bits", ylabel="dB")
        >>> fig.alt_text()
        'Noise falls. Axes: bits, dB.'
        """
        titles = [self.get_suptitle(), *(ax.get_title() for ax in self.axes)]
        labels = [label for ax in self.axes for label in (ax.get_xlabel(), ax.get_ylabel())]
        claim = ". ".join(dict.fromkeys(t.rstrip(".") for t in titles if t)).replace("\n", ", ")
        axes = ", ".join(dict.fromkeys(label for label in labels if label))
        return " ".join(part for part in (f"{claim}." if claim else "", f"Axes: {axes}." if axes else "") if part)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        png, alt = io.BytesIO(), self.alt_text()
        save(self, png)
        return {"image/png": png.getvalue(), "text/plain": alt}, {"image/png": {"alt": alt}}


def new_figure(rows: int = 1, cols: int = 1, height: float = 3.6, **options: Any) -> tuple[Figure, Any]:
    """A figure at notebook width (8 in; `height` in) and its axes, which only the cell's last value shows.

    Not made by pyplot: a figure open in another thread would be shown by whichever cell ends. `options` go to
    `Figure.subplots`.

    >>> fig, (left, right) = new_figure(1, 2)
    >>> len(fig.axes)
    2
    """
    fig = NotebookFigure(figsize=(8, height), layout="constrained")
    return fig, fig.subplots(rows, cols, **options)


def save(fig: Figure, path: StrPath | IO[bytes]) -> None:
    """Write `fig` as a PNG, to a path or an open file, at the size it has in a notebook."""
    fig.savefig(path, dpi=100)


def node_box(ax: Axes, x: float, y: float, text: str, colour: str, width: float = 0.9) -> None:
    """A box with `text` around (x, y), as graphs and pipelines are drawn of."""
    ax.add_patch(Rectangle((x - width / 2, y - 0.3), width, 0.6, fc=colour, ec="black", lw=0.8, zorder=2))
    ax.text(x, y, text, ha="center", va="center", fontsize=8, zorder=3)


def stack_figures(figures: Iterable[Figure], out: StrPath) -> Path:
    """Write figures under each other as one PNG, `out`; nothing is left half-written. Returns the path."""
    images = []
    for figure in figures:
        buffer = io.BytesIO()
        save(figure, buffer)
        images.append(Image.open(buffer).convert("RGB"))
    sheet = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), "white")
    top = 0
    for image in images:
        sheet.paste(image, ((sheet.width - image.width) // 2, top))
        top += image.height
    with written_whole(out) as part:
        sheet.save(part, "PNG", optimize=True)
    return Path(out)
