"""An image from a file, read rightly or refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def open_image(image: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """Read an image (a path, or an open PIL image) as 8-bit RGB, turned as its EXIF tag says.

    16-bit grey is divided by 257, so that 65535 is white; of several frames the first counts, and transparency is
    left out. Raises FileNotFoundError, or ValueError naming the file: unreadable, or its white is not known.

    >>> open_image(Image.fromarray(np.uint16([[0, 257, 65535]]))).getpixel((1, 0))
    (1, 1, 1)
    """
    if isinstance(image, Image.Image):
        return _rgb(_with_known_white(image, "the picture given"))
    if not Path(image).is_file():
        raise FileNotFoundError(f"{image}: no such picture; check the path.")
    try:
        # Given the path, Pillow maps the file, and a turned TIFF without compression gets the wrong row length.
        with open(image, "rb") as file, Image.open(file) as opened:
            return _rgb(ImageOps.exif_transpose(_with_known_white(opened, image)))
    except _UnknownWhite as e:
        raise ValueError(str(e)) from None
    except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError):
        raise ValueError(f"{image}: cannot be read as a picture; remove the file or replace it.") from None


class _UnknownWhite(ValueError):
    """Pixels that leave open which value is white."""


def _with_known_white(image: Image.Image, name: object) -> Image.Image:
    if unknown := _unknown_white(image):
        text = f"holds {unknown}, and which value is white is not known; save it with 8 bits, as PNG"
        raise _UnknownWhite(f"{name}: {text}.")
    return image


def _unknown_white(image: Image.Image) -> str:
    """What kind of pixels leaves open which value is white; "" where that is known."""
    if image.mode in ("F", "I"):
        return {"F": "floating-point pixels", "I": "32-bit or signed integer pixels"}[image.mode]
    if image.mode.startswith("I;16"):
        bits, photometric = (getattr(image, "tag_v2", {}).get(tag) for tag in (258, 262))  # of a TIFF
        if bits not in (None, (16,)):
            return f"{bits[0]}-bit grey"
        if photometric == 0:
            return "inverted 16-bit grey"
    return ""


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    return image.convert("RGB")
