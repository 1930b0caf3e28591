"""Files of models: what is refused, by name."""

import hashlib
import json
import os

import onnx
import pytest
from onnx import TensorProto
from small_models import conv_model

from helpers import graph


@pytest.mark.parametrize("location", ["../secret.bin", "nowhere.bin"])
def test_weights_outside_of_the_models_folder_are_refused(location, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    folder = tmp_path / "model"
    folder.mkdir()
    model = onnx.load(conv_model(folder / "a.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ValueError, match=r"a\.onnx: its weights in other files cannot be read .* into the model's folder"
    ) as e:
        graph.read_model(folder / "a.onnx")
    assert "\n" not in str(e.value)


def test_what_is_written_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = graph.save_json({"a": [1, "é"]}, tmp_path / "made" / "a.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1, "é"]}
    with pytest.raises(TypeError):
        graph.save_json({"a": object()}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1, "é"]} and len(list(path.parent.iterdir())) == 1
    assert graph.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    net = conv_model(tmp_path / "conv.onnx")
    net.write_bytes(before := net.read_bytes())
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        graph.save_json({}, tmp_path / "b.json")
    assert {p.name for p in tmp_path.iterdir()} == {"made", "conv.onnx"} and net.read_bytes() == before


def test_a_file_that_is_read_is_not_written_over(tmp_path):
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    one.touch()
    (tmp_path / "link.onnx").symlink_to(one)
    graph.refuse_overwrite([other], [one])
    graph.refuse_overwrite([one], [other])
    for spelled in (one, tmp_path / "link.onnx", tmp_path / "made" / ".." / "one.onnx"):
        (tmp_path / "made").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=f"{spelled.name}: is read here and would be written over"):
            graph.refuse_overwrite([other, spelled], [one])
