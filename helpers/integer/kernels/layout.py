"""How the HTP lays a tensor out: in tiles behind what slides a window, else flat; each recodes in its own way."""

from __future__ import annotations

from collections.abc import Sequence

_TILES = {"BatchNormalization", "Conv", "ConvTranspose", "InstanceNormalization", "MaxPool", "Resize"}
_TILES |= {"AveragePool", "GlobalAveragePool"}
_FLAT = {"DepthToSpace", "Flatten", "Gemm", "MatMul", "Transpose"}


def tiled(kind: str, inputs: Sequence[bool]) -> bool:
    """Whether operator `kind` makes its output in tiles; where it does not say so itself, if any of its inputs is.

    >>> tiled("Conv", [False]), tiled("Add", [True, False]), tiled("Transpose", [True])
    (True, True, False)
    """
    return kind in _TILES or (kind not in _FLAT and any(inputs))
