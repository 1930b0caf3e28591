"""A picture in another size."""

from __future__ import annotations

import numpy as np

from helpers.integer.kernels.movement import data_movement
from helpers.integer.kernels.operator import MOVES, Compute, Operator, kernel, refuse

RESIZE = {  # the one way that is done here, against ONNX's defaults
    "mode": (b"nearest", b"nearest"),
    "coordinate_transformation_mode": (b"half_pixel", b"asymmetric"),
    "nearest_mode": (b"round_prefer_floor", b"floor"),
}


@kernel("Resize", MOVES)
def resize(op: Operator) -> Compute:
    """Nearest neighbour, the floor of the place in the source: y[i] = x[⌊i·n_x/n_y⌋]."""
    asked = {name: op.attr.get(name, default) for name, (default, _) in RESIZE.items()}
    more = set(op.attr) - {*RESIZE, "cubic_coeff_a", "extrapolation_value"}
    if asked != {name: done for name, (_, done) in RESIZE.items()} or any(op.attr[name] for name in more):
        refuse(op, "Resize is done here as nearest, asymmetric, floor alone, export it so")
    scales, sizes = (op.stored[i] if i < len(op.stored) else None for i in (2, 3))
    given = scales if sizes is None else sizes
    if given is None:
        refuse(op, "its scales or sizes are not constants of the graph, which is not known here")

    def move(x: np.ndarray) -> list[np.ndarray]:
        for axis, old in enumerate(x.shape):
            new = int(np.floor(old * given[axis])) if sizes is None else int(given[axis])
            ratio = new / old  # also for scales: the HTP knows the two sizes alone
            if new != old:
                x = x.take(np.minimum(np.arange(new) // ratio, old - 1).astype(int), axis)
        return [x]

    return data_movement(op, move)
