"""Pictures side by side, each with what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from helpers import assets
from helpers.graph import StrPath
from helpers.plot.style import LITERAL, new_figure

_COLUMNS = 8


def pictures(shown: Sequence[tuple[str, StrPath | np.ndarray]], title: str, columns: int = _COLUMNS) -> Figure:
    """Pictures in rows of `columns`: (what stands above it, a file or an array) each.

    An array is H×W×3, uint8 or 0 … 1, or H×W class numbers, which get a colour each; 0 is black.

    >>> pictures([("none", np.zeros((4, 4), int)), ("all", np.ones((4, 4), int))], "Two masks").get_suptitle()
    'Two masks'
    """
    rows = -(-len(shown) // columns)
    fig, axes = new_figure(rows, columns, height=0.5 + rows * (8 / columns + 0.25), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (text, image) in zip(axes.flat, shown, strict=False):
        array: Any = image if isinstance(image, np.ndarray) else assets.open_image(Path(image))
        ax.imshow(array, cmap="nipy_spectral", vmin=0, vmax=max(9, np.max(array)), interpolation="nearest")
        ax.set_title(text, fontsize=9, **LITERAL)
    fig.suptitle(title, fontsize=11, **LITERAL)
    return fig
