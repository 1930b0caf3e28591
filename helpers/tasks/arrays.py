"""Stored arrays as a model's inputs: a file is one feed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from helpers.graph import Model, ModelLike, StrPath
from helpers.tasks.feeds import FeedList
from helpers.tasks.interface import times


class ArrayFeeds(FeedList):
    """.npz files (an array for each input, by its name) or .npy files (the one input) as {input name: array}.

    One file is one feed; floats become the model's, and integers where none changes. Raises ValueError where there is
    no file, and where one does not hold the model's inputs in their shapes and types, when it is reached.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }')
    >>> path = getfixture("tmp_path") / "one.npy"
    >>> np.save(path, np.float32([1, 2]))
    >>> ArrayFeeds([path], net)[0]
    {'x': array([1., 2.], dtype=float32)}
    """

    def __init__(self, paths: Sequence[StrPath], model: ModelLike):
        self.paths = [Path(p) for p in paths]
        if not self.paths:
            raise ValueError("no inputs were given; name a folder that holds .npz or .npy files.")
        graph = Model.of(model)
        self._wanted = graph.input_types

    def read(self, path: StrPath) -> dict[str, np.ndarray]:
        """The feed that one file holds."""
        arrays, names = _arrays(path), list(self._wanted)
        if isinstance(arrays, np.ndarray):
            if len(names) != 1:
                text = f"holds one array, and the model has {len(names)} inputs: give an .npz with {', '.join(names)}"
                raise ValueError(f"{path}: {text}.")
            arrays = {names[0]: arrays}
        if set(arrays) != set(names):
            held = ", ".join(sorted(arrays)) or "nothing"
            raise ValueError(f"{path}: holds {held}; the model's inputs are {', '.join(names)}.")
        for name, (dtype, shape) in self._wanted.items():
            array = arrays[name] = _as_model_takes(arrays[name], dtype)
            if array.dtype != dtype:
                text = f"'{name}' is {array.dtype}, and the model takes {dtype}; store it with `.astype(np.{dtype})`"
                raise ValueError(f"{path}: {text}.")
            if array.shape != shape:
                text = f"'{name}' is {times(array.shape)}, and the model takes {times(shape)}, one input a file"
                raise ValueError(f"{path}: {text}.")
        return arrays


def _arrays(path: StrPath) -> dict[str, np.ndarray] | np.ndarray:
    """What an array file holds: {name: array} of an .npz, the array of an .npy."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error):
        raise ValueError(f"{path}: not an array file; give what `numpy.save` or `numpy.savez` wrote.") from None


def _as_model_takes(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in the model's dtype where both are floats (NumPy's have 64 bits), or integers that fit."""
    if array.dtype.kind == dtype.kind == "f":
        return array.astype(dtype)
    if array.dtype.kind in "iu" and dtype.kind in "iu" and np.array_equal(array, array.astype(dtype)):
        return array.astype(dtype)
    return array
