"""Images of every usual kind are read, the others refused by name."""

import numpy as np
import pytest
from PIL import Image

from helpers import assets, vision


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(ValueError, match=r"broken\.jpg: cannot be read as a picture"):
        next(iter(vision.Feeds([tmp_path / "broken.jpg"])))
    whole = assets.images()[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.jpg: cannot be read as a picture"):
        vision.open_image(tmp_path / "cut.jpg")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg: no such picture"):
        vision.open_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ValueError, match="no pictures were given"):
        vision.Feeds([])
    with pytest.raises(FileNotFoundError, match="has no labels"):
        vision.labels(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix, order):
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(order)
    path = tmp_path / f"grey{suffix}"
    Image.fromarray(grey).save(path)
    for picture in (path, Image.open(path)):
        x = vision.letterbox(picture, 64)[0]
        np.testing.assert_allclose(x[0, 0, 8:56], grey / 65535, rtol=0, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_is_turned_as_its_tag_says(tmp_path, dtype, compression):
    grey = np.linspace(0, np.iinfo(dtype).max, 12).reshape(3, 4).astype(dtype)
    Image.fromarray(grey).save(tmp_path / "turned.tif", tiffinfo={274: 6}, compression=compression)
    found = np.asarray(vision.open_image(tmp_path / "turned.tif"))[..., 0] / 255
    np.testing.assert_allclose(found, np.rot90(grey, -1) / np.iinfo(dtype).max, atol=0.5 / 255 + 1e-6)


def test_pictures_whose_white_is_not_known_are_refused_by_name(tmp_path):
    for name, kind in (("float", np.float32), ("int", np.int32)):
        Image.fromarray(np.ones((8, 8), kind)).save(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match=rf"{name}\.tif: holds .*{name}.*; save it with 8 bits"):
            vision.open_image(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match=f"the picture given: holds .*{name}"):
            vision.open_image(Image.open(tmp_path / f"{name}.tif"))
    Image.fromarray(np.ones((8, 8), np.uint16)).save(tmp_path / "grey.tif")
    for tag, value, what in ((258, (12,), "12-bit grey"), (262, 0, "inverted 16-bit grey")):
        picture = Image.open(tmp_path / "grey.tif")
        picture.tag_v2[tag] = value
        with pytest.raises(ValueError, match=f"holds {what}"):
            vision.open_image(picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_usual_kind_of_pixel_has_the_same_mean(tmp_path, mode):
    grey = Image.fromarray(np.repeat(np.uint8([[0, 255]]), [20, 30], 1).repeat(50, 0))
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    grey.convert("RGB" if mode in ("CMYK", "YCbCr") else mode).convert(mode).save(path)
    assert np.asarray(vision.open_image(path)).mean() / 255 == pytest.approx(0.6, abs=0.005)
