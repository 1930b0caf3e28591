"""Images as a model's inputs: calibration and inference share one way to make them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from helpers import targets
from helpers.assets import open_image
from helpers.graph import StrPath

Size = int | tuple[int, int]  # (height, width) in px, or the side of a square
ImageLike = StrPath | Image.Image | np.ndarray  # a file, an open image, or H×W×3 uint8


def letterbox(image: ImageLike, size: Size = 640) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Fit an image into `size`, keeping its aspect, grey (114) around it: `(x, gain, (left, top))`.

    x is 1×3×H×W float32 in 0…1, RGB; a point p of the image sits at gain·p + (left, top) px in x. Raises as
    `open_image` does.

    >>> x, gain, pad = letterbox(Image.new("RGB", (100, 50)), (320, 400))
    >>> x.shape, gain, pad
    ((1, 3, 320, 400), 4.0, (0, 60))
    """
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else open_image(image)
    high, wide = height_width(size)
    gain = min(wide / image.width, high / image.height)
    width, height = max(1, round(image.width * gain)), max(1, round(image.height * gain))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (wide - width) // 2, (high - height) // 2
    canvas = Image.new("RGB", (wide, high), (114, 114, 114))
    canvas.paste(image, (left, top))
    x = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / np.float32(255)
    return np.ascontiguousarray(x), gain, (left, top)


def height_width(size: Size) -> tuple[int, int]:
    """(height, width) of a `Size`."""
    return size if isinstance(size, tuple) else (size, size)


def picture_input(session: Any, path: StrPath) -> tuple[str, tuple[int, int]]:
    """Name and (height, width) of a session's one input, 1×3×H×W; ValueError where `path` takes something else."""
    first, *more = session.get_inputs()
    size = tuple(first.shape[2:])
    if more or list(first.shape) != [1, 3, *size] or len(size) != 2 or not all(isinstance(n, int) for n in size):
        shape = "×".join(map(str, first.shape))
        raise ValueError(f"{path}: input '{first.name}' is {shape}; a detector here takes one picture, 1×3×H×W.")
    return first.name, size


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
    """Images as `{input name: 1×3×H×W float32}`, read one at a time and anew at each pass, so memory stays flat.

    `model` sets the input's `name` and `size`, (height, width); without it they are YOLOv8's 'images' and (640, 640).
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
        self.name, self.size = "images", (640, 640)
        if model is not None:
            self.name, self.size = picture_input(targets.load(model), model)

    def read(self, path: ImageLike) -> dict[str, np.ndarray]:
        """The feed of one image."""
        return {self.name: letterbox(path, self.size)[0]}
