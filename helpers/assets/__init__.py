"""Models and images, wherever they are."""

from helpers.assets.download import COCO128_URL, download, fetch
from helpers.assets.export import UntrustedPickle
from helpers.assets.find import course, crowded_scene, find, images, model
from helpers.assets.image import open_image
from helpers.assets.places import CACHE, DATA, VARIABLE

__all__ = [
    "CACHE",
    "COCO128_URL",
    "DATA",
    "VARIABLE",
    "UntrustedPickle",
    "course",
    "crowded_scene",
    "download",
    "fetch",
    "find",
    "images",
    "model",
    "open_image",
]
