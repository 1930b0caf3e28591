"""Where models and pictures are looked for."""

import hashlib
import json
import sys

import pytest

from helpers import assets
from helpers.assets import export

FIND = sys.modules["helpers.assets.find"]  # `assets.find` is its function


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
    FIND._say.cache_clear()
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
        without.setattr(export, "KNOWN_PICKLES", {hashlib.sha256(b"weights").hexdigest()})
        without.setitem(sys.modules, "ultralytics", None)
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


def test_the_crowded_scene_is_the_one_that_was_measured():
    measured = json.loads((assets.DATA / "stages.json").read_text(encoding="utf-8"))
    assert assets.crowded_scene().stem == measured["scene"]
    assert assets.crowded_scene() in assets.images("validation")[:64]
    counts = {name: len(stage["boxes"]) for name, stage in measured["stages"].items()}
    assert counts["to nearest"] > counts["FP32"] == counts["A8W8 to nearest"] == counts["recipe best, A8W8"]
