"""Operators that give the same codes another shape, another order of axes, or more than once."""

from __future__ import annotations

import numpy as np

from helpers.integer.kernels.movement import data_movement
from helpers.integer.kernels.operator import MOVES, PASSES, Compute, Operator, kernel, refuse, stored


@kernel("Reshape", MOVES, PASSES)
def reshape(op: Operator) -> Compute:
    """The same codes under another shape; 0 keeps a size, −1 takes what is left."""
    shape = stored(op, 1, "sizes")
    if op.attr.get("allowzero"):
        refuse(op, "allowzero is not done here, export without it")
    return data_movement(op, lambda x: [x.reshape([size or x.shape[i] for i, size in enumerate(shape)])])


@kernel("Flatten", MOVES, PASSES)
def flatten(op: Operator) -> Compute:
    """The same codes in two dimensions: those before `axis` in one, the others in the other."""
    axis = op.attr.get("axis", 1)
    return data_movement(op, lambda x: [x.reshape(int(np.prod(x.shape[:axis])), -1)])


@kernel("Squeeze", MOVES, PASSES)
def squeeze(op: Operator) -> Compute:
    """The same codes without the axes of size 1 that it names; without names, all of them."""
    axes = tuple(stored(op, 1, "axes").tolist()) if len(op.stored) > 1 else None
    return data_movement(op, lambda x: [np.squeeze(x, axes)])


@kernel("Unsqueeze", MOVES, PASSES)
def unsqueeze(op: Operator) -> Compute:
    """The same codes with new axes of size 1."""
    axes = tuple(stored(op, 1, "axes").tolist())
    return data_movement(op, lambda x: [np.expand_dims(x, axes)])


@kernel("Transpose", MOVES, PASSES)
def transpose(op: Operator) -> Compute:
    """The same codes in another order of axes; without `perm`, reversed."""
    return data_movement(op, lambda x: [x.transpose(op.attr.get("perm"))])


@kernel("Expand", MOVES)
def expand(op: Operator) -> Compute:
    """The same codes again along axes of size 1, as NumPy broadcasts."""
    shape = tuple(int(n) for n in stored(op, 1, "sizes"))
    return data_movement(op, lambda x: [np.broadcast_to(x, np.broadcast_shapes(x.shape, shape))])


@kernel("Tile", MOVES)
def tile(op: Operator) -> Compute:
    """The whole tensor so many times along each axis."""
    repeats = stored(op, 1, "repeats")
    return data_movement(op, lambda x: [np.tile(x, repeats)])


@kernel("DepthToSpace", MOVES)
def depth_to_space(op: Operator) -> Compute:
    """b² channels become b×b pixels: of neighbouring channels (mode CRD), or of those C/b² apart (DCR)."""
    b, crd = op.attr["blocksize"], op.attr.get("mode", b"DCR") == b"CRD"

    def move(x: np.ndarray) -> list[np.ndarray]:
        n, c, h, w = x.shape
        if crd:
            blocks = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
        else:
            blocks = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        return [blocks.reshape(n, c // b**2, h * b, w * b)]

    return data_movement(op, move)


@kernel("SpaceToDepth", MOVES)
def space_to_depth(op: Operator) -> Compute:
    """b×b pixels become b² channels, C apart."""
    b = op.attr["blocksize"]

    def move(x: np.ndarray) -> list[np.ndarray]:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
        return [blocks.reshape(n, c * b**2, h // b, w // b)]

    return data_movement(op, move)
