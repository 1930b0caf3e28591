"""Figures under each other on one page."""

from __future__ import annotations

import io
import os
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from helpers.plot.style import save


def stack_figures(figures: list[Figure], out) -> Path:
    """Write figures under each other as one PNG, `out`; nothing is left half-written."""
    pictures = []
    for figure in figures:
        save(figure, buffer := io.BytesIO())
        pictures.append(Image.open(buffer).convert("RGB"))
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, ((sheet.width - picture.width) // 2, top))
        top += picture.height
    out = Path(out)
    half = out.with_name(f".{out.name}.half")
    sheet.save(half, "PNG", optimize=True)
    os.replace(half, out)
    return out
