"""Figures under each other on one page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from helpers.graph import StrPath
from helpers.graph.files import written_whole
from helpers.plot.style import save


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
