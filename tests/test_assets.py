"""Where models and pictures are looked for, and how a download fails, resumes and is checked."""

import http.server
import io
import threading
import zipfile

import pytest

from helpers import assets, qdq


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and no folder named, so that nothing of this machine shows."""
    monkeypatch.setattr(assets, "CACHE", tmp_path / "cache")
    monkeypatch.delenv(assets.VARIABLE, raising=False)
    return tmp_path / "cache"


def test_looked_for_in_order_path_variable_cache(cache, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"meanwhile data/scenes\.onnx"):
        assets.model("yolov8n")
    cache.mkdir()
    (cache / "yolov8n.onnx").write_bytes(b"cached")
    assert assets.model("yolov8n").parent == cache
    named = tmp_path / "named"
    named.mkdir()
    (named / "yolov8n.onnx").write_bytes(b"named")
    monkeypatch.setenv(assets.VARIABLE, str(named))
    assert assets.model("yolov8n.onnx").parent == named
    monkeypatch.chdir(cache)
    assert assets.model("yolov8n.onnx").read_bytes() == b"cached"  # a path that exists comes first
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(assets.VARIABLE, "")
    with pytest.raises(FileNotFoundError):
        assets.model("yolov8n")


def said(capsys) -> str:
    """The line that `course` prints, asked for twice."""
    assets._say.cache_clear()
    assert assets.course() == assets.course()
    (line,) = capsys.readouterr().out.splitlines()
    return line


def test_course_falls_back_to_data_as_a_whole(cache, capsys):
    line = said(capsys)
    model, calibration, judging = assets.course()
    assert model == assets.model() and calibration == assets.images() and judging == assets.images("validation")
    assert not set(calibration) & set(judging)
    assert "data/scenes.onnx" in line and "neither yolov8n nor coco128 is in" in line


def test_course_says_which_model_serves_and_why(cache, capsys, monkeypatch):
    cache.mkdir()
    (cache / "yolov8n.pt").write_bytes(b"weights")
    with monkeypatch.context() as without:
        without.setitem(__import__("sys").modules, "ultralytics", None)
        line = said(capsys)
    assert "data/scenes.onnx" in line and "yolov8n.pt is there but the extra `yolo`" in line
    (cache / "yolov8n.pt").rename(cache / "yolov8n.onnx")
    assert "yolov8n is there but coco128 is not in" in said(capsys)
    (cache / "coco128").mkdir()
    for k in range(6):
        (cache / "coco128" / f"{k}.jpg").touch()
    assert f"{cache / 'yolov8n.onnx'} serves, with COCO128, 3 pictures to calibrate, 3 to judge" in said(capsys)
    assert assets.course()[0] == cache / "yolov8n.onnx" and assets.course()[1][0].name == "3.jpg"
    monkeypatch.setenv(assets.VARIABLE, "")
    assert "since INT8_ASSETS is empty" in said(capsys)


def test_one_sentence_says_what_is_missing_how_to_get_it_and_what_serves(cache, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        assets.images("coco128")
    text = str(caught.value)
    assert "coco128" in text and "fetch coco128" in text and assets.VARIABLE in text and "\n" not in text
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: holds no pictures"):
        assets.images(tmp_path / "empty")


def test_a_checkpoint_without_the_extra_says_so(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    (tmp_path / "mine.pt").write_bytes(b"weights")
    with pytest.raises(ImportError, match=r"mine\.pt: .*--extra yolo"):
        assets.model(tmp_path / "mine.pt")


def test_the_real_checkpoint_becomes_onnx_once():
    try:
        path = assets.model("yolov8n")
    except (FileNotFoundError, ImportError) as e:
        pytest.skip(str(e))
    made = path.stat().st_mtime_ns
    assert assets.model("yolov8n.onnx") == path and path.stat().st_mtime_ns == made
    graph = qdq.read_model(path)
    assert [d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 640, 640]
    assert graph.opset_import[0].version >= 17


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `body`, honours Range, and breaks off after `quota` bytes as often as `breaks` says."""

    body, breaks, quota, ranges = b"", 0, 40_000, []

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        Server.ranges.append(start)
        if self.path != "/file":
            return self.send_error(404)
        rest = self.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if Server.breaks:
            Server.breaks -= 1
            rest = rest[: self.quota]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.body, Server.breaks, Server.ranges = bytes(range(256)) * 500, 0, []
    yield f"http://127.0.0.1:{server.server_port}/file"
    server.shutdown()
    server.server_close()


def test_a_broken_download_resumes_where_it_stopped(url, tmp_path):
    Server.breaks = 2
    got = assets.download(url, tmp_path / "file")
    assert got.read_bytes() == Server.body
    assert Server.ranges == [0, Server.quota, 2 * Server.quota]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_next_call_resumes_what_the_last_one_could_not_finish(url, tmp_path):
    Server.breaks = 9
    with pytest.raises(ConnectionError, match="not fetched"):
        assets.download(url, tmp_path / "file", tries=1)
    assert not (tmp_path / "file").exists()
    Server.breaks = 0
    assert assets.download(url, tmp_path / "file").read_bytes() == Server.body
    assert Server.ranges == [0, Server.quota]


@pytest.mark.parametrize("address", ["{url}-missing", "http://127.0.0.1:9/file"])
def test_a_refused_download_leaves_nothing(url, tmp_path, address):
    with pytest.raises(ConnectionError, match="not fetched"):
        assets.download(address.format(url=url), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def coco_zip(pictures):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        for name, content in pictures.items():
            z.writestr(f"coco128_yolo/images/train2017/{name}.jpg", content)
            z.writestr(f"coco128_yolo/images/val2017/{name}.jpg", b"another split")
            z.writestr(f"coco128_yolo/labels/train2017/{name}.txt", b"0 0.5 0.5 1 1")
    return file.getvalue()


def test_fetch_keeps_what_has_the_right_checksum_and_nothing_else(url, cache, monkeypatch):
    monkeypatch.setattr(assets, "COCO128_URL", url)
    Server.body = coco_zip({"a": b"picture"})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        assets.fetch("coco128")
    assert not list(cache.iterdir())
    Server.body = b"<html>Sorry</html>"
    with pytest.raises(ValueError, match="not a whole zip archive"):
        assets.fetch("coco128")
    assert not list(cache.iterdir())
    Server.body = coco_zip({"a": b"picture"})
    right = __import__("hashlib").sha256(b"picture" + b"0 0.5 0.5 1 1").hexdigest()
    monkeypatch.setattr(assets, "COCO128_SHA256", right)
    assert assets.fetch("coco128") == cache / "coco128"
    assert [p.name for p in assets.images("coco128")] == ["a.jpg"]
    asked = len(Server.ranges)
    assert assets.fetch("coco128") == cache / "coco128" and len(Server.ranges) == asked  # nothing is fetched twice


def test_the_checksum_is_that_of_the_real_coco128():
    try:
        pictures = assets.images("coco128")
    except FileNotFoundError as e:
        pytest.skip(str(e))
    labels = sorted(pictures[0].parents[2].rglob("*.txt"))
    assert assets._digest([*pictures, *labels]) == assets.COCO128_SHA256
