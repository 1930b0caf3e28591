"""Pictures as inputs: geometry done by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers import assets, vision


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([64, 320]))
def test_letterbox_keeps_the_aspect_and_its_gain_and_pad_lead_back(width, height, size):
    x, gain, (left, top) = vision.letterbox(Image.new("RGB", (width, height), "white"), size)
    assert x.shape == (1, 3, size, size) and x.dtype == np.float32
    white = np.argwhere(x[0, 0] == 1)
    (y0, x0), (y1, x1) = white.min(0), white.max(0) + 1
    assert (x0, y0) == (left, top)
    assert abs((x1 - x0) / gain - width) <= max(1, 1 / gain) and abs((y1 - y0) / gain - height) <= max(1, 1 / gain)
    assert max(x1 - x0, y1 - y0) == size


def test_letterbox_pads_with_grey_and_leaves_a_fitting_picture_alone():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal((vision.letterbox(noise, 64)[0][0] * 255).round(), noise.transpose(2, 0, 1))
    assert vision.letterbox(noise[:32], 64)[0][0, 0, 0, 0] == np.float32(114 / 255)


def test_feeds_can_be_read_twice_and_hold_one_picture_at_a_time():
    feeds = vision.Feeds(assets.images()[:3], assets.model())
    first, second = [f["images"].sum() for f in feeds], [f["images"].sum() for f in feeds]
    assert first == second and len(set(first)) == 3
