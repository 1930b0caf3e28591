"""How a download fails, resumes and is checked."""

import io
import stat
import zipfile
from pathlib import Path

import pytest
from local_server import Server

from helpers import assets
from helpers.assets import download


def test_a_broken_download_resumes_where_it_stopped(url, tmp_path):
    Server.breaks = 2
    got = download.download(url, tmp_path / "file")
    assert got.read_bytes() == Server.body
    assert Server.ranges == [0, Server.quota, 2 * Server.quota]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_next_call_resumes_what_the_last_one_could_not_finish(url, tmp_path):
    Server.breaks = 9
    with pytest.raises(ConnectionError, match="not fetched"):
        download.download(url, tmp_path / "file", tries=1)
    assert not (tmp_path / "file").exists()
    Server.breaks = 0
    assert download.download(url, tmp_path / "file").read_bytes() == Server.body
    assert Server.ranges == [0, Server.quota]


@pytest.mark.parametrize("address", ["{url}-missing", "http://127.0.0.1:9/file"])
def test_a_refused_download_leaves_nothing(url, tmp_path, address):
    with pytest.raises(ConnectionError, match="not fetched"):
        download.download(address.format(url=url), tmp_path / "file")
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
    monkeypatch.setattr(download, "COCO128_SHA256", download._digest(files))


def test_fetch_keeps_what_has_the_right_checksum_and_nothing_else(url, cache, monkeypatch):
    monkeypatch.setattr(download, "COCO128_URL", url)
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
    monkeypatch.setattr(download, "COCO128_URL", url)
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
    monkeypatch.setattr(download, "COCO128_URL", url)
    the_zip_is_right(monkeypatch, {"a": b"picture"})
    Server.body = coco_zip({"b": b"picture"})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        assets.fetch("coco128")


@pytest.mark.yolo
def test_the_checksum_is_that_of_the_real_coco128():
    try:
        pictures = assets.images("coco128")
    except FileNotFoundError as e:
        pytest.skip(str(e))
    root = pictures[0].parents[2]
    files = [*pictures, *sorted(root.rglob("*.txt"))]
    assert download._digest({f.relative_to(root).as_posix(): f.read_bytes() for f in files}) == download.COCO128_SHA256
