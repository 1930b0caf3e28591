"""Widgets without a browser: set a control, read what the others say."""

import re

import numpy as np
import pytest

from helpers import calibrate, widgets
from helpers.affine import choose_qparams, fake_quantize
from helpers.error import split_error, sqnr_db


@pytest.fixture
def tuned():
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    h = calibrate.Histogram().update(x)
    controls, slider, image, numbers = widgets.tune_range(h).children
    return x, h, *controls.children, slider, image, numbers


def test_tune_range_takes_its_range_from_the_chosen_method(tuned):
    _, h, method, kind, slider, image, numbers = tuned
    pictures = {bytes(image.value)}
    for name, expected in (
        ("percentile", calibrate.percentile(h)),
        ("mse", calibrate.mse(h)),
        ("entropy", calibrate.entropy(h)),
        ("minmax", calibrate.minmax(h)),
    ):
        method.value = name
        assert slider.value == expected
        pictures.add(bytes(image.value))
    assert len(pictures) == 4 and all(p.startswith(b"\x89PNG") for p in pictures)
    before, method.value = numbers.value, "mse"
    kind.value = "uint4"
    assert slider.value == calibrate.mse(h, "uint4") and numbers.value != before
    slider.value = (-1, 2)
    assert method.value is None and slider.value == (-1, 2)
    kind.value = "uint8"
    assert slider.value == (-1, 2), "a range set by hand outlives a change of dtype"


@pytest.mark.parametrize("dtype", ["uint8", "int4"])
def test_tune_range_says_what_the_tensor_itself_says(tuned, dtype):
    x, _, _, kind, slider, _, numbers = tuned
    kind.value, slider.value = dtype, (-2.0, 1.5)
    qp = choose_qparams(-2, 1.5, dtype)
    said = [float(n) for n in re.findall(r"-?\d[\d.e-]*\d|\d", re.sub("<.*?>", "", numbers.value))]
    codes = fake_quantize(x, qp)
    clipped = np.abs(codes - x) > qp.scale / 2 * (1 + 1e-5)
    truth = [qp.scale, qp.zero_point, 100 * clipped.mean(), *split_error(x, qp), sqnr_db(x, codes)]
    assert said == pytest.approx(truth, rel=0.02)


def test_tune_range_stands_a_tensor_of_zeros():
    assert "0 % clipped" in widgets.tune_range(calibrate.Histogram().update(np.zeros(9))).children[-1].value
    with pytest.raises(ValueError, match="histogram is empty"):
        widgets.tune_range(calibrate.Histogram())


def test_staircase_and_compare_redraw_in_place():
    from helpers import assets, vision

    stairs = widgets.staircase()
    ends, kind, image = stairs.children
    seen = {image.value}
    ends.value = (-2.0, 2.0)
    seen.add(image.value)
    kind.value = "int8"
    seen.add(image.value)
    assert len(seen) == 3 and all(bytes(value[1:4]) == b"PNG" for value in seen)
    box = widgets.compare({"FP32": vision.Detector(assets.model())}, assets.images("validation")[:2])
    picture, conf, image = box.children
    before = image.value
    conf.value = 0.95
    higher = image.value
    picture.value = 1
    assert len({before, higher, image.value}) == 3


def test_pick_tensor_tells_the_qparams(int8):
    from helpers import qdq

    box = widgets.pick_tensor(int8)
    choice, text = box.children
    params = qdq.list_qparams(int8)
    assert list(choice.options) == list(params)
    choice.value = "images"
    assert "uint8" in text.value and f"Z = {params['images'].zero_point}" in text.value
