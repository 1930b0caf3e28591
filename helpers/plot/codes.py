"""Pictures of weights as 4-bit codes: how often each code serves, and which filter is left without any."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from helpers.affine import QParams, qrange, quantize
from helpers.plot.style import BLUE, LITERAL, RED, new_figure

_COLUMNS = 64  # weights of a filter that are drawn: more would be thinner than a pixel


def _qparams(scale: float | np.ndarray, dtype: str) -> QParams:
    """Z = 0 and one scale, or one for each output channel."""
    if isinstance(scale, np.ndarray) and scale.ndim:
        return QParams(scale, np.zeros(len(scale), int), dtype, axis=0)
    return QParams(float(scale), 0, dtype)


def code_counts(weight: np.ndarray, scales: Mapping[str, float | np.ndarray], dtype: str = "int4") -> Figure:
    """How many of the weights get each code, under several scales {title: S, or S of each output channel}, Z = 0.

    Raises ValueError as `quantize` does.

    >>> len(code_counts(np.array([-0.2, 0.1, 7.0]), {"wide": 1.0, "narrow": 0.1}).axes)
    2
    """
    fig, axes = new_figure(1, len(scales), height=3, sharey=True, squeeze=False)
    qmin, qmax = qrange(dtype)
    values = np.arange(qmin, qmax + 1)
    zeros = []
    for ax, (title, scale) in zip(axes[0], scales.items(), strict=True):
        codes = quantize(weight, _qparams(scale, dtype))
        share = 100 * np.array([np.mean(codes == value) for value in values])
        zeros.append(share[values == 0][0])
        ax.bar(values, share, color=[RED if value == 0 else BLUE for value in values])
        ax.set(xlabel="code", xticks=[qmin, qmin // 2, 0, (qmax + 1) // 2, qmax])
        ax.set_title(title, fontsize=10, **LITERAL)
        ax.grid(alpha=0.25, axis="y")
    axes[0][0].set_ylabel("% of the weights")
    fig.suptitle(f"Code 0 takes {', then '.join(f'{z:.0f} %' for z in zeros)} of the weights", fontsize=11)
    return fig


def code_map(weight: np.ndarray, scales: Mapping[str, float | np.ndarray], dtype: str = "int4") -> Figure:
    """The codes of a weight, a row for each output channel, under several scales as `code_counts` takes them.

    Raises ValueError as `quantize` does.

    >>> len(code_map(np.array([[7.0, -7.0], [0.1, 0.2]]), {"one": 1.0, "each": np.array([1.0, 0.1])}).axes)
    3
    """
    fig, axes = new_figure(1, len(scales), height=4, sharey=True, squeeze=False)
    empty = []
    for ax, (title, scale) in zip(axes[0], scales.items(), strict=True):
        codes = quantize(weight, _qparams(scale, dtype)).reshape(len(weight), -1)
        empty.append(100 * float(np.mean(codes == 0)))
        edge = qrange(dtype)[1]
        shown = ax.imshow(codes[:, :_COLUMNS], cmap="RdBu", vmin=-edge, vmax=edge, aspect="auto", interpolation="none")
        ax.set(xlabel="weight of the channel")
        ax.set_title(f"{title}: {empty[-1]:.0f} % are 0", fontsize=10, **LITERAL)
    axes[0][0].set_ylabel("output channel")
    fig.colorbar(shown, ax=axes[0], label="code", shrink=0.8)
    fig.suptitle("The codes of one layer: white is 0, a weight that is gone", fontsize=11)
    return fig
