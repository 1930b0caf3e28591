"""Checkpoints: which are loaded, and what is made of them."""

import hashlib
import os
import pickle
import sys
import zipfile

import pytest
from local_server import Server

from helpers import assets, graph
from helpers.__main__ import main
from helpers.assets import download, export


def test_a_checkpoint_without_the_extra_says_so(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
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


@pytest.mark.yolo
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
    monkeypatch.setattr(download, "YOLOV8N_URL", url)
    Server.body = (cache / "yolov8n.pt").read_bytes()
    (cache / "yolov8n.pt").unlink()
    for _ in range(2):
        with pytest.raises(assets.UntrustedPickle, match=r"cache/yolov8n\.pt|cache\\yolov8n\.pt"):
            assets.fetch("yolov8n")
    assert len(Server.ranges) == 1 and not bomb.exists()
    asked = []
    monkeypatch.setattr(export, "_ultralytics", lambda copy: asked.append(copy.with_suffix(".onnx").write_text("net")))
    assert main(["fetch", "yolov8n", "--trust-pickle"]) == 0 and len(asked) == 1
    assert assets.model("yolov8n").read_text() == "net"
    (cache / "yolov8n.pt").unlink()
    Server.body = b"<html>Sorry</html>"
    with pytest.raises(ValueError, match="not a checkpoint; nothing was kept"):
        assets.fetch("yolov8n")
    assert sorted(p.suffix for p in cache.iterdir()) == [".onnx", ".pt"]  # old.pt and what was made


@pytest.mark.yolo
def test_the_real_checkpoint_becomes_onnx_once():
    try:
        path = assets.model("yolov8n")
    except (FileNotFoundError, ImportError) as e:
        pytest.skip(str(e))
    made = path.stat().st_mtime_ns
    assert assets.model("yolov8n.onnx") == path and path.stat().st_mtime_ns == made
    proto = graph.read_model(path)
    assert [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 640, 640]
    assert proto.opset_import[0].version >= 17
