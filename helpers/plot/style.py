"""Colours that everybody can tell apart, and figures at notebook width."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Okabe & Ito (2008), told apart with every common colour vision deficiency.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#666666",
)  # fmt: skip
# Names that come from files, for `$` may stand in them, and Matplotlib would set a formula or fail.
LITERAL = {"parse_math": False}


def new_figure(rows: int = 1, cols: int = 1, height: float = 3.6, **kw):
    """A figure at notebook width (8 in), closed so that only the cell's last value shows it."""
    fig, axes = plt.subplots(rows, cols, figsize=(8, height), layout="constrained", **kw)
    plt.close(fig)
    return fig, axes


def save(fig: Figure, path) -> None:
    """Write `fig` as a PNG at the size it has in a notebook."""
    fig.savefig(path, dpi=100)
