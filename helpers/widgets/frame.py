"""What every box of widgets needs of the page around it."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import anywidget
from matplotlib.figure import Figure

from helpers import plot


class Frame(anywidget.AnyWidget):
    """Nothing to see: in its output keys stay with the widgets, and sliders have names."""

    _esm, _css = (Path(__file__).with_suffix(end) for end in (".js", ".css"))


def png(fig: Figure) -> bytes:
    """`fig` as a PNG at the size it has in a notebook.

    >>> png(plot.new_figure()[0])[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    plot.save(fig, buffer)
    return buffer.getvalue()


def words(fig: Figure) -> str:
    """The titles and texts of a figure, as words for who cannot see it.

    >>> words(plot.pipeline({"steps": "4"}, "a title"))
    'a title, 4, steps'
    """
    found = [fig.get_suptitle()]
    for ax in fig.axes:
        found += [ax.get_title(), *(text.get_text() for text in ax.texts)]
    return ", ".join(s.replace("\n", " ") for s in found if s.strip())


def img(fig: Figure, alt: str | None = None, kind: str = "chart") -> str:
    """A figure as HTML with `alt`, or else its `words`; a dark page inverts a "chart" and dims a "photo".

    >>> img(plot.pipeline({"steps": "4"}, "a title"))[:46]
    '<img class="chart" alt="a title, 4, steps" dec'
    """
    alt = html.escape(words(fig) if alt is None else alt)
    data = base64.b64encode(png(fig)).decode()
    return f'<img class="{kind}" alt="{alt}" decoding="sync" src="data:image/png;base64,{data}">'
