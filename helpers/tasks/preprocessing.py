"""How a picture becomes a model's input: settled once, written into the model, and used ever after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from helpers.assets import open_image
from helpers.graph import StrPath

ImageLike = StrPath | Image.Image | np.ndarray  # a file, an open image, or H×W×3 uint8
KEY = "int8_npu_preprocessing"  # in a model's metadata
CHOICES = {
    "color": ("rgb", "bgr"),
    "layout": ("nchw", "nhwc"),
    "resize": ("letterbox", "stretch", "crop"),
    "range": ("0..1", "0..255"),
}
_SETTINGS = ("mean", "std", "color", "layout", "resize", "range", "source")
_GREY = 114  # around a letterboxed picture, as Ultralytics pads


class Fitted(NamedTuple):
    """A picture at a model's size: a point p (x, y) of the picture sits at gain·p + offset px in `canvas`."""

    canvas: Image.Image
    gain: tuple[float, float]
    offset: tuple[int, int]


def fit(
    image: Image.Image, size: tuple[int, int], resize: str, around: Any = (_GREY,) * 3, nearest: bool = False
) -> Fitted:
    """Bring an image to `size`, (height, width) px, by one of three ways.

    letterbox: whole, its aspect kept, `around` it grey. stretch: whole, its aspect lost. crop: its aspect kept, the
    middle of it. Bilinear, or of `nearest` pixels where these are classes.

    >>> fit(Image.new("RGB", (100, 50)), (320, 400), "letterbox")[1:]
    ((4.0, 4.0), (0, 60))
    >>> fit(Image.new("RGB", (100, 50)), (100, 100), "crop")[1:]
    ((2.0, 2.0), (-50, 0))
    """
    high, wide = size
    gains = wide / image.width, high / image.height
    if resize != "stretch":
        gains = (min(gains),) * 2 if resize == "letterbox" else (max(gains),) * 2
    width, height = max(1, round(image.width * gains[0])), max(1, round(image.height * gains[1]))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR)
    left, top = (wide - width) // 2, (high - height) // 2
    if (width, height) == (wide, high):
        return Fitted(image, gains, (0, 0))
    canvas = Image.new(image.mode, (wide, high), around)
    canvas.paste(image, (left, top))
    return Fitted(canvas, gains, (left, top))


class Ready(NamedTuple):
    """A model's input made of a picture, and where its points went: p → gain·p + offset, px of the input."""

    x: np.ndarray
    gain: tuple[float, float]
    offset: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """x = (v − mean)/std of a picture at the model's size; v is the pixel/255 in range "0..1", the pixel in "0..255".

    `input`, `size` (height, width), `channels` (3, or 1: grey) and `dtype` are the model's; the rest can be chosen,
    by `changed`. `mean` and `std` hold one number or one a channel, in units of the range, in the order in which the
    model sees its channels. `source` says who proposed it. Raises ValueError for what contradicts itself.

    >>> ready = Preprocessing("x", (2, 2), mean=(0.5,), std=(0.5,))(Image.new("RGB", (4, 4), "white"))
    >>> ready.x.shape, ready.x.max()
    ((1, 3, 2, 2), np.float32(1.0))
    """

    input: str
    size: tuple[int, int]
    channels: int = 3
    dtype: str = "float32"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    color: str = "rgb"
    layout: str = "nchw"
    resize: str = "letterbox"
    range: str = "0..1"
    source: str = "nothing says how, so this is a guess"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} '{getattr(self, name)}' is unknown; choose one of {', '.join(allowed)}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, self.channels) or not np.isfinite(values).all():
                text = f"input '{self.input}' has {self.channels} channel{'s' if self.channels > 1 else ''}"
                raise ValueError(f"{name} {_listed(values)}: {text}; give one finite number, or one a channel.")
        if min(self.std) <= 0:
            raise ValueError(f"std {_listed(self.std)}: give numbers above 0, for pixels are divided by them.")
        if self.channels == 1 and self.color != "rgb":
            raise ValueError(f"color '{self.color}': input '{self.input}' has one channel, grey; leave the colour out.")
        if self.dtype == "uint8" and (self.range != "0..255" or any(self.mean) or set(self.std) != {1.0}):
            text = "is uint8 and takes pixels as they are; leave mean, std and range out"
            raise ValueError(f"input '{self.input}' {text}.")

    def changed(self, settings: Mapping[str, Any]) -> Preprocessing:
        """The same with some settings chosen. mean, std and range belong together: one of them resets the others."""
        together = {"mean", "std", "range"} & set(settings)
        plain = {"mean": (0.0,), "std": (1.0,), "range": "0..255" if self.dtype == "uint8" else "0..1"}
        return replace(self, **((plain if together else {}) | dict(settings) | {"source": "as you asked"}))

    def json(self) -> str:
        """The settings as a model's metadata holds them."""
        return json.dumps({name: asdict(self)[name] for name in _SETTINGS})

    def from_json(self, text: str, where: object) -> Preprocessing:
        """The same with the settings of `json`; ValueError that names `where` they stand if they are none."""
        try:
            found = json.loads(text)
            found |= {name: tuple(float(v) for v in found[name]) for name in ("mean", "std")}
            return replace(self, **found)
        except (TypeError, AttributeError, KeyError, ValueError) as e:
            text = f"its metadata '{KEY}' is not what `quantize` writes ({' '.join(str(e).split()).rstrip('.')})"
            raise ValueError(f"{where}: {text}; quantize the float model again.") from None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return (1, self.channels, *self.size) if self.layout == "nchw" else (1, *self.size, self.channels)

    def __str__(self) -> str:
        color = "grey" if self.channels == 1 else self.color.upper()
        scaled = ""
        if any(self.mean) or set(self.std) != {1.0}:
            scaled = f", minus {_listed(self.mean)}, divided by {_listed(self.std)}"
        size = "×".join(map(str, self.size))
        return f"{self.resize} to {size}, {color}, {self.layout}, {self.range}{scaled} ({self.source})"

    def opened(self, image: ImageLike) -> Image.Image:
        """The image in RGB, turned as its EXIF tag says; raises as `open_image` does."""
        return Image.fromarray(image) if isinstance(image, np.ndarray) else open_image(image)

    def __call__(self, image: ImageLike) -> Ready:
        """The model's input, of the shape and dtype that it takes; raises as `open_image` does."""
        canvas, gain, offset = fit(self.opened(image), self.size, self.resize)
        pixels = np.asarray(canvas.convert("L"))[..., None] if self.channels == 1 else np.asarray(canvas)
        if self.color == "bgr":
            pixels = pixels[..., ::-1]
        x: np.ndarray = pixels.astype(np.float32)
        if self.range == "0..1":
            x /= np.float32(255)
        if any(self.mean) or set(self.std) != {1.0}:
            x = (x - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if self.layout == "nchw":
            x = x.transpose(2, 0, 1)
        return Ready(np.ascontiguousarray(x[None], self.dtype), gain, offset)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in values)
