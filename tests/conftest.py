"""Shared by all: data/'s own model cut and quantized once, an empty cache, a server, and which tests stay together."""

import http.server
import os
import threading

import pytest
from hypothesis import settings
from local_server import Server

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores: matrix products wait for no second thread

from helpers import assets, calibrate, qdq, session, vision
from helpers.workbench import experiment

settings.register_profile("house", deadline=None)  # no stopwatch: the machine may be busy
settings.load_profile("house")

ALONE = {"test_notebooks.py"}  # files whose tests share nothing, so that both workers may take them
# The dearest groups by CPU seconds: begun first, so that no worker ends alone with one of them.
DEAREST = """browser main workbench/test_ui repair/test_recipe tasks/test_exports safety setup calibrate/test_peers
    memory workbench/test_experiment widgets/test_widgets integer/test_simulator targets/test_targets""".split()
FIRST = [f"tests/{name}.py" if "/" in name else f"tests/test_{name}.py" for name in DEAREST]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A file's tests go to one worker, which then makes the file's fixtures once; notebooks, then FIRST, begin."""
    for item in items:
        if item.path.name not in ALONE:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))
    items.sort(key=_start)


def _start(item) -> int:
    """Where a test stands in the order of starting, later chapters first; equal ones stay as they were collected."""
    if "test_runs_on" in item.name:
        return -item.callspec.indices["path"]
    file = item.nodeid.split("::")[0]
    return 1 + (FIRST.index(file) if file in FIRST else len(FIRST))


needs_htp = pytest.mark.skipif("htp" not in session.targets(), reason="no HTP here: see `python -m helpers doctor`")


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    """The builds that you have passed are yours: a test keeps its own."""
    monkeypatch.setenv("INT8_PROGRESS", str(tmp_path / "progress.json"))


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
