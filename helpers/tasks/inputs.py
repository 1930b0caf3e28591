"""Which files of a folder are inputs: pictures, or arrays; never both."""

from __future__ import annotations

from pathlib import Path

from helpers import assets
from helpers.assets.find import IMAGES
from helpers.graph import StrPath

ARRAYS = {".npy", ".npz"}


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, by its name.

    >>> is_picture(Path("a.JPG")), is_picture(Path("a.npz"))
    (True, False)
    """
    return path.suffix.lower() in IMAGES


def _files(source: StrPath) -> list[Path]:
    folder = Path(source)
    return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []


def _refuse_mixed(source: StrPath, arrays: int, pictures: int) -> None:
    if arrays and pictures:
        what = f"holds {pictures} pictures and {arrays} .npz or .npy files"
        raise ValueError(f"{source}: {what}, and which are the inputs is not known; keep one kind in a folder.")


def pictures(source: StrPath | None = None) -> list[Path]:
    """As `assets.images`, and ValueError for a folder with .npz files; an .npy among pictures may be their labels."""
    files = _files(source) if source is not None else []
    arrays, images = [p for p in files if p.suffix.lower() in ARRAYS], [p for p in files if is_picture(p)]
    _refuse_mixed(source or "", sum(p.suffix.lower() == ".npz" for p in arrays), len(images))
    if arrays and not images:
        text = "and this task takes pictures; give a folder of pictures, or `--task tensors`"
        raise ValueError(f"{source}: holds {len(arrays)} .npz or .npy files, {text}.")
    return assets.images(source)


def pictures_or_arrays(source: StrPath) -> list[Path]:
    """A folder's pictures, or its arrays, or one file; FileNotFoundError where there are none, ValueError for both."""
    if Path(source).is_file():
        return [Path(source)]
    files = _files(source)
    arrays = [p for p in files if p.suffix.lower() in ARRAYS]
    _refuse_mixed(source, len(arrays), sum(map(is_picture, files)))
    if arrays:
        return arrays
    try:
        return assets.images(source)
    except FileNotFoundError as e:
        if not Path(source).exists() and Path(source).parent == Path("."):
            raise  # a name that `assets` could know
        if not Path(source).exists():
            raise FileNotFoundError(f"{source}: no such folder; name one that holds inputs.") from None
        text = "put pictures there, or store inputs with `numpy.savez`"
        raise FileNotFoundError(f"{source}: holds no .npz or .npy files and no pictures; {text}.") from e
