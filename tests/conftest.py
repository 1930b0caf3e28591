"""Shared fixtures: the course's own model cut, quantized once, for every test that needs a QDQ graph."""

import pytest

from helpers import assets, calibrate, qdq, session, vision

needs_htp = pytest.mark.skipif("htp" not in session.targets(), reason="no HTP here: see `python -m helpers doctor`")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def cut(work):
    return qdq.split_head(assets.model(), work / "fp32.onnx")


@pytest.fixture(scope="session")
def ranges(cut):
    feeds = vision.Feeds(assets.images("calibration")[:16], cut)
    return calibrate.ranges(calibrate.observe(cut, feeds), "percentile")


@pytest.fixture(scope="session")
def int8(work, cut, ranges):
    return qdq.quantize_model(cut, work / "int8.onnx", ranges)
