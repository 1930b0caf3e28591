"""Where models and pictures are looked for, and how a download fails, resumes and is checked."""

import hashlib
import http.server
import io
import os
import pickle
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from helpers import assets, qdq
from helpers.__main__ import main


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
    assert "its SHA-256 is not one that we know" in said(capsys)
    with monkeypatch.context() as without:
        without.setattr(assets, "KNOWN_PICKLES", {hashlib.sha256(b"weights").hexdigest()})
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


def test_what_is_passed_over_is_counted_and_said_once(tmp_path):
    for name in ("a.jpg", "b/c.TIFF", "b/x.npy", "y.npy", "z.gif", "a.txt", "labels.cache", ".DS_Store", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.warns(UserWarning, match=r": 2 × \.npy, 1 × \.gif passed over; 2 pictures are read\.$") as told:
        assert [p.name for p in assets.images(tmp_path)] == ["a.jpg", "c.TIFF"]
    assert len(told) == 1 and told[0].filename == __file__
    for name in ("a.jpg", "b/c.TIFF"):
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no pictures \(2 × \.npy, 1 × \.gif\)"):
        assets.images(tmp_path)


def test_data_s_own_folders_pass_nothing_over(recwarn):
    assert len(assets.images("calibration")) == 64 and len(assets.images("validation")) == 128
    assert not recwarn.list


def test_a_checkpoint_without_the_extra_says_so(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    (tmp_path / "mine.pt").write_bytes(b"weights")
    with pytest.raises(ImportError, match=r"mine\.pt: .*--extra yolo"):
        assets.model(tmp_path / "mine.pt", trust_pickle=True)


class Bomb:
    """Unpickled, it makes a folder: what a hostile checkpoint could do, harmlessly."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def bomb(cache, tmp_path):
    """The mark that a hostile yolov8n.pt in data/cache leaves where it is loaded, in both of PyTorch's formats."""
    cache.mkdir()
    mark, data = tmp_path / "ran", pickle.dumps(Bomb(tmp_path / "ran"))
    with zipfile.ZipFile(cache / "yolov8n.pt", "w") as z:
        z.writestr("archive/data.pkl", data)
        z.writestr("archive/version", b"3")
        z.writestr("archive/byteorder", b"little")
    (cache / "old.pt").write_bytes(data)
    return mark


def test_a_checkpoint_that_nobody_trusts_is_never_loaded(bomb, cache, capsys, tmp_path):
    for name in ("yolov8n", "old", cache / "old.pt"):
        with pytest.raises(assets.UntrustedPickle) as caught:
            assets.model(name)
        assert assets.find(name).suffix == ".pt"
    text, digest = str(caught.value), hashlib.sha256((cache / "old.pt").read_bytes()).hexdigest()
    assert "old.pt" in text and digest in text and "runs whatever code" in text and "--trust-pickle" in text
    assert assets.course()[0] == assets.model()
    assert main(["doctor"]) == 0
    assert "yolov8n.pt (a checkpoint, not loaded here" in capsys.readouterr().out
    assert main(["quantize", "yolov8n", "-o", str(tmp_path / "out")]) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    assert not bomb.exists() and sorted(p.name for p in cache.iterdir()) == ["old.pt", "yolov8n.pt"]


def test_a_checkpoint_that_is_trusted_is_loaded(bomb, cache):
    pytest.importorskip("ultralytics")
    with pytest.raises(ValueError, match=r"yolov8n\.pt: Ultralytics cannot use it"):
        assets.model("yolov8n", trust_pickle=True)
    assert bomb.exists(), "else the test above proves nothing"
    assert sorted(p.name for p in cache.iterdir()) == ["old.pt", "yolov8n.pt"]


def test_the_onnx_of_a_checkpoint_serves_without_loading_it(bomb, cache):
    digest = hashlib.sha256((cache / "yolov8n.pt").read_bytes()).hexdigest()
    made = cache / f"yolov8n-{digest[:8]}.onnx"
    made.write_bytes(b"made before")
    assert assets.model("yolov8n") == assets.find("yolov8n") == made and not bomb.exists()


def test_a_fetched_checkpoint_is_kept_but_not_loaded_unless_it_is_known_or_trusted(url, bomb, cache, monkeypatch):
    monkeypatch.setattr(assets, "YOLOV8N_URL", url)
    Server.body = (cache / "yolov8n.pt").read_bytes()
    (cache / "yolov8n.pt").unlink()
    for _ in range(2):
        with pytest.raises(assets.UntrustedPickle, match=r"cache/yolov8n\.pt|cache\\yolov8n\.pt"):
            assets.fetch("yolov8n")
    assert len(Server.ranges) == 1 and not bomb.exists()
    asked = []
    monkeypatch.setattr(assets, "_ultralytics", lambda copy: asked.append(copy.with_suffix(".onnx").write_text("net")))
    assert main(["fetch", "yolov8n", "--trust-pickle"]) == 0 and len(asked) == 1
    assert assets.model("yolov8n").read_text() == "net"
    (cache / "yolov8n.pt").unlink()
    Server.body = b"<html>Sorry</html>"
    with pytest.raises(ValueError, match="not a checkpoint; nothing was kept"):
        assets.fetch("yolov8n")
    assert sorted(p.suffix for p in cache.iterdir()) == [".onnx", ".pt"]  # old.pt and what was made


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
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
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


def the_zip_is_right(monkeypatch, pictures):
    """Make the archive of `coco_zip` the one that is known."""
    names = [f"images/train2017/{n}.jpg" for n in sorted(pictures)]
    files = dict(zip(names, (pictures[n] for n in sorted(pictures)), strict=True))
    files |= {f"labels/train2017/{n}.txt": b"0 0.5 0.5 1 1" for n in sorted(pictures)}
    monkeypatch.setattr(assets, "COCO128_SHA256", assets._digest(files))


def test_fetch_keeps_what_has_the_right_checksum_and_nothing_else(url, cache, monkeypatch):
    monkeypatch.setattr(assets, "COCO128_URL", url)
    Server.body = coco_zip({"a": b"picture"})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        assets.fetch("coco128")
    assert not list(cache.iterdir())
    whole = coco_zip({"a": b"picture"})
    for broken in (b"<html>Sorry</html>", whole[:-30], whole[:-6] + b"\xff" * 3 + whole[-3:]):  # the last by its offset
        Server.body = broken
        with pytest.raises(ValueError, match="not a whole zip archive"):
            assets.fetch("coco128")
        assert not list(cache.iterdir())
    Server.body = coco_zip({"b": b"more", "a": b"picture"})
    the_zip_is_right(monkeypatch, {"a": b"picture", "b": b"more"})
    assert assets.fetch("coco128") == cache / "coco128"
    assert [p.name for p in assets.images("coco128")] == ["a.jpg", "b.jpg"]
    assert not list((cache / "coco128").rglob("*val2017*"))
    asked = len(Server.ranges)
    assert assets.fetch("coco128") == cache / "coco128" and len(Server.ranges) == asked  # nothing is fetched twice


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "content", "why"),
    [
        ("../evil.jpg", b"x", "leads out"),
        ("coco128_yolo/images/train2017/../../../../evil.jpg", b"x", "leads out"),
        ("..\\evil.jpg", b"x", "leads out"),
        ("/tmp/evil.jpg", b"x", "leads out"),
        ("C:/evil.jpg", b"x", "leads out"),
        (link("coco128_yolo/images/train2017/l.jpg"), b"/etc/passwd", "leads out"),
        ("other/images/train2017/a.jpg", b"x", "twice"),
        ("coco128_yolo/images/train2017/b.jpg", b"x", "SHA-256 differs"),
        ("coco128_yolo/images/train2017/b.jpg", bytes(70_000_000), "64 MB"),
    ],
    ids=["up", "up again", "up on Windows", "absolute", "drive", "link", "twice", "one more", "bomb"],
)
def test_an_evil_archive_is_refused_before_anything_is_written(url, cache, monkeypatch, entry, content, why):
    monkeypatch.setattr(assets, "COCO128_URL", url)
    the_zip_is_right(monkeypatch, {"a": b"picture"})
    file = io.BytesIO(coco_zip({"a": b"picture"}))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as z:
        z.writestr(entry, content)
    Server.body = file.getvalue()
    monkeypatch.setattr(Path, "write_bytes", None)
    with pytest.raises(ValueError, match=f"{why}.*; nothing was kept"):
        assets.fetch("coco128")
    assert not list(cache.iterdir()) and not list(cache.parent.glob("*.jpg"))


def test_the_checksum_includes_the_names(url, cache, monkeypatch):
    monkeypatch.setattr(assets, "COCO128_URL", url)
    the_zip_is_right(monkeypatch, {"a": b"picture"})
    Server.body = coco_zip({"b": b"picture"})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        assets.fetch("coco128")


def test_the_checksum_is_that_of_the_real_coco128():
    try:
        pictures = assets.images("coco128")
    except FileNotFoundError as e:
        pytest.skip(str(e))
    root = pictures[0].parents[2]
    files = [*pictures, *sorted(root.rglob("*.txt"))]
    assert assets._digest({f.relative_to(root).as_posix(): f.read_bytes() for f in files}) == assets.COCO128_SHA256
