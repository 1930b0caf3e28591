"""Models and images, wherever they are."""

from helpers.assets.download import COCO128_URL, fetch
from helpers.assets.export import UntrustedPickle
from helpers.assets.find import course, crowded_scene, find, images, model
from helpers.assets.image import open_image
from helpers.assets.places import CACHE, DATA, VARIABLE
