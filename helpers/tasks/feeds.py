"""Images as a model's input: calibration and inference share one way to make them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from helpers import targets
from helpers.graph import StrPath
from helpers.tasks.interface import Interface
from helpers.tasks.preprocessing import ImageLike, Preprocessing
from helpers.tasks.proposal import preprocessing

Size = int | tuple[int, int]  # (height, width) in px, or the side of a square


def letterbox(image: ImageLike, size: Size = 640) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Fit an image into `size`, keeping its aspect, grey (114) around it: `(x, gain, (left, top))`.

    x is 1×3×H×W float32 in 0…1, RGB; a point p of the image sits at gain·p + (left, top) px in x. Raises as
    `open_image` does.

    >>> from PIL import Image
    >>> x, gain, pad = letterbox(Image.new("RGB", (100, 50)), (320, 400))
    >>> x.shape, gain, pad
    ((1, 3, 320, 400), 4.0, (0, 60))
    """
    ready = Preprocessing("images", height_width(size))(image)
    return ready.x, ready.gain[0], ready.offset


def height_width(size: Size) -> tuple[int, int]:
    """(height, width) of a `Size`."""
    return size if isinstance(size, tuple) else (size, size)


class FeedList:
    """Input files as {input name: array} in a fixed order, read one at a time and anew at each pass."""

    paths: list[Any]

    def read(self, path: Any) -> dict[str, np.ndarray]:
        """The feed that one file holds; ValueError that names it where it is no input."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.read(self.paths[index])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[index] for index in range(len(self)))


class Feeds(FeedList):
    """Images as a model's one input, read one at a time and anew at each pass, so memory stays flat.

    `model` sets `preprocessing`: as its metadata says, or as `proposal.preprocessing` proposes. Without it that is
    YOLOv8's: input 'images', 1×3×640×640, letterboxed, RGB in 0…1.
    Raises ValueError (no images; a model that takes no image; an unreadable image, when it is reached).

    >>> from helpers import assets
    >>> feeds = Feeds(assets.images()[:2], assets.model())
    >>> len(feeds), next(iter(feeds))["images"].shape
    (2, (1, 3, 320, 320))
    """

    def __init__(self, paths: StrPath | Iterable[ImageLike], model: StrPath | None = None):
        self.paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not self.paths:
            raise ValueError("no pictures were given; name a folder that holds .jpg or .png files.")
        self.preprocessing = Preprocessing("images", (640, 640))
        if model is not None:
            self.preprocessing = preprocessing(Interface.of_session(targets.load(model), model))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input."""
        return self.preprocessing.size

    def read(self, path: ImageLike) -> dict[str, np.ndarray]:
        """The feed of one image."""
        return {self.preprocessing.input: self.preprocessing(path).x}
