"""Tasks find themselves, and a model finds its task."""

import onnx.parser
import pytest
from small_models import classifier

from helpers import assets, graph, tasks

PLAIN = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'


def test_every_file_with_a_task_is_found_and_the_last_resort_is_asked_last():
    found = tasks.registry()
    names = {"detection", "instance_masks", "obb", "pose", "classification", "segmentation", "tensors"}
    assert {t.name for t in found} == names
    assert [t.name for t in found if t.last_resort] == ["tensors"] == [found[-1].name]
    assert {t.name for t in found if t.by_shape} == {"classification", "segmentation"}
    for task in found:
        assert task.shown and task.drifts and set(task.history) <= set(task.shown) and len(task.history) <= 3


def test_a_detector_is_recognised_whole_and_cut_and_anything_else_is_tensors(cut, tmp_path):
    for model in (assets.model(), cut, graph.Model.of(cut), onnx.load(cut)):
        assert tasks.recognise(model).name == "detection"
    assert tasks.recognise(classifier(tmp_path)[0]).name == "classification"
    assert tasks.recognise(onnx.parser.parse_model(PLAIN)).name == "tensors"
    with pytest.raises(FileNotFoundError, match=r"none\.onnx: no such file"):
        tasks.recognise(tmp_path / "none.onnx")


def test_named_lists_what_there_is():
    assert tasks.named("tensors") is tasks.recognise(onnx.parser.parse_model(PLAIN))
    with pytest.raises(ValueError, match=r"task 'dreams' is unknown; choose one of .*detection, .*tensors\."):
        tasks.named("dreams")


def test_what_a_task_leaves_out_has_a_meaning(tmp_path):
    """`prepare` stores constants and refuses a quantized model; no ranges are known, no group is tried first."""
    bare, path = tasks.Task(), classifier(tmp_path)[0]
    assert bare.prepare(path, tmp_path / "out.onnx") == tmp_path / "out.onnx" and (tmp_path / "out.onnx").is_file()
    assert bare.output_ranges(graph.Model.of(path), {}) == {} and bare.wide_first(graph.Model.of(path)) == []
    with pytest.raises(NotImplementedError):
        bare.runner(path)


def test_what_the_metadata_names_is_believed(tmp_path):
    model = tasks.settle(classifier(tmp_path)[0], [], "tensors")
    assert tasks.recognise(model).name == "tensors"
    assert tasks.recognise(tasks.settle(model, [], "classification")).name == "classification"
    with pytest.raises(ValueError, match="task 'dreams' is unknown"):
        tasks.recognise(model.with_metadata({"int8_npu_task": "dreams"}))
