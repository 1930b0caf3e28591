"""Models and pictures, wherever they are."""

from helpers.assets.download import COCO128_URL, download, fetch
from helpers.assets.find import CACHE, DATA, VARIABLE, course, images, model
from helpers.assets.image import open_image

__all__ = ["CACHE", "COCO128_URL", "DATA", "VARIABLE", "course", "download", "fetch", "images", "model", "open_image"]
