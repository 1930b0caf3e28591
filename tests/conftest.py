"""Shared fixtures: the course's own model cut, quantized once, for every test that needs a QDQ graph."""

import http.server
import threading

import pytest
from local_server import Server

from helpers import assets, calibrate, qdq, session, vision
from helpers.workbench import experiment

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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and no folder named, so that nothing of this machine shows."""
    monkeypatch.setattr(assets.places, "CACHE", tmp_path / "cache")
    monkeypatch.delenv(assets.VARIABLE, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def url():
    """The address of a file that `local_server.Server` serves."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    Server.body, Server.breaks, Server.ranges = bytes(range(256)) * 500, 0, []
    yield f"http://127.0.0.1:{server.server_port}/file"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def opened_experiment():
    return experiment.Experiment(assets.model(), assets.images("validation")[:3], assets.images("calibration")[:4])


@pytest.fixture
def here(opened_experiment):
    """An experiment on data/'s model with nothing changed and nothing kept."""
    opened_experiment.apply({"ranges": {}, "a16": [], "per_channel": True}, "start")
    opened_experiment.kept = {}
    return opened_experiment
