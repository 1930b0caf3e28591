"""Heads of every kind: recognised, cut without a change, whole on the HTP; their results against arithmetic by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from onnx import numpy_helper

from helpers import assets, calibrate, graph, qdq, session, tasks
from helpers.tasks import layout
from helpers.tasks.instances import Instances

FOLDER = Path(__file__).parents[1] / "exports"
STORED = {"v10-end": ("detection", 6, "ranked"),
          "26": ("detection", 6, "places"),
          "26-seg-end": ("instance_masks", 10, "ranked"),
          "11-pose": ("pose", 9, "places"),
          "11-obb": ("obb", 9, "places")}  # fmt: skip
OTHERS = {  # what stands behind the last convolutions of one stride, the end, its outputs, and what it is known as
    "YOLOX": (
        "o = Sigmoid(c)  p = Concat<axis=1>(b, o, s)  {k} = Reshape(p, seven)",
        "all = Concat<axis=2>(k0, k1, k2)  y = Transpose<perm=[0, 2, 1]>(all)",
        "float[1,21,7] y",
        "objectness",
    ),
    "PP-YOLOE": (
        "p = Concat<axis=1>(b, s)  {k} = Reshape(p, six)",
        "all = Concat<axis=2>(k0, k1, k2)  e, y = Split<axis=1>(all, parts)  f = Transpose<perm=[0, 2, 1]>(e)"
        "  x = Mul(f, eight)",
        "float[1,21,4] x, float[1,2,21] y",
        "apart",
    ),
}


def filled(name, folder):
    """A stored export with seeded weights; the sides of its boxes are two cells or more, as trained ones are."""
    model, rng = onnx.load(FOLDER / f"{name}.onnx"), np.random.default_rng(0)
    stored = {t.name: t for t in model.graph.initializer}
    for tensor in stored.values():
        if not tensor.raw_data and not tensor.float_data and tensor.data_type == onnx.TensorProto.FLOAT:
            values = rng.normal(0, 1.5 / np.sqrt(np.prod(tensor.dims[1:])), tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    for node in model.graph.node:
        if node.op_type == "Conv" and stored[node.input[1]].dims[0] == 4:
            weight, bias = stored[node.input[1]], stored[node.input[2]]
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) / 50, weight.name))
            bias.CopyFrom(numpy_helper.from_array(np.full(4, 8, np.float32), bias.name))
    onnx.save(model, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


def other(name, folder):
    """The end of somebody else's detector, three strides, two classes, behind one Conv a branch."""
    stride, end, outputs, _ = OTHERS[name]
    body, weights = "", {}
    for k, step in enumerate((8, 16, 32)):
        for branch, width in {"b": 4, "c": 1, "t": 2}.items():
            body += f"{branch}{k} = Conv<strides=[{step},{step}]>(images, w{branch}{k})\n"
            weights[f"w{branch}{k}"] = (width, 3, step, step)
        text = stride.replace("(b,", f"(b{k},").replace("(c)", f"(c{k})")
        for t in "osp":
            text = text.replace(f"{t} = ", f"{t}{k} = ").replace(f" {t})", f" {t}{k})").replace(f" {t},", f" {t}{k},")
        body += f"s{k} = Sigmoid(t{k})\n" + text.replace("{k}", f"k{k}").replace("(p,", f"(p{k},") + "\n"
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,32,32] images) => ({outputs}) <int64[3] six = {{1, 6, -1}}, int64[3] seven = {{1, 7, -1}},
        int64[2] parts = {{4, 2}}, float eight = {{8.0}}> {{ {body} {end} }}""")
    rng = np.random.default_rng(0)
    for weight, shape in weights.items():
        value = rng.normal(0, 2 / np.sqrt(np.prod(shape[1:])), shape)
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), weight))
    for k, node in enumerate(model.graph.node):
        node.name = f"n{k}"
    onnx.save(model, folder / "other.onnx")
    return folder / "other.onnx"


def outputs_of(path, x):
    return tasks.completed.load_completed(path).run(None, {"images": x})


@pytest.mark.parametrize("name", STORED)
def test_a_head_is_recognised_and_its_cut_changes_nothing(name, tmp_path):
    path, (task, count, kind) = filled(name, tmp_path), STORED[name]
    found = tasks.recognise(path)
    cut = graph.Model.of(found.prepare(path, tmp_path / "cut.onnx"))
    assert found.name == task == tasks.recognise(cut).name and len(cut.outputs) == count
    assert layout.of_model(cut).kind == layout.of_model(graph.Model.of(path)).kind == kind
    x = np.random.default_rng(0).random((1, 3, 128, 128), np.float32)
    for one, two in zip(session.load(path).run(None, {"images": x}), outputs_of(tmp_path / "cut.onnx", x), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="cut already"):
        graph.split_graph(cut, cut.outputs)


@needs_htp
@pytest.mark.parametrize("name", STORED)
def test_it_is_whole_on_the_htp_and_agrees(name, tmp_path):
    path = filled(name, tmp_path)
    task, pictures = tasks.recognise(path), assets.images()[:1]
    cut = task.prepare(path, tmp_path / "cut.onnx")
    histograms = calibrate.observe(cut, task.feeds(pictures, cut))
    int8 = qdq.quantize_model(cut, tmp_path / "int8.onnx", calibrate.ranges(histograms, "minmax"))
    reference = [task.runner(path).results(p) for p in pictures]
    assert tasks.recognise(int8).name == task.name and sum(map(task.count, reference)) > 5
    again = [task.runner(cut).results(p) for p in pictures]
    for one, two in zip(reference, again, strict=True):
        np.testing.assert_allclose(task.boxes(one)[0], task.boxes(two)[0], atol=1e-3)
    itself = task.agreement(reference, again)
    assert itself["iou_drift"].value < 1e-5 and set(task.shown) <= set(itself)
    assert task.name == "detection" or itself[task.measure].value > 0.9
    there = task.agreement(reference, [task.runner(int8, "htp").results(p) for p in pictures])  # whole, or it raises
    assert there["iou_drift"].value < 0.5
    feeds = task.feeds(pictures, cut)
    seen = task.reference_outputs(cut, feeds)
    assert task.drift_against(seen, cut, feeds).total < task.drift_against(seen, int8, feeds).total
    assert len(task.rows(reference[0], reference[0], {})) > 1 and task.change(reference[0], reference[0]) == 0


@pytest.mark.parametrize("name", OTHERS)
def test_heads_of_others_are_known_by_what_comes_out(name, tmp_path):
    path = other(name, tmp_path)
    task = tasks.recognise(path)
    cut = task.prepare(path, tmp_path / "cut.onnx")
    assert task.name == "detection" and layout.of_model(graph.Model.of(cut)).kind == OTHERS[name][3]
    x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    for one, two in zip(session.load(path).run(None, {"images": x}), outputs_of(cut, x), strict=True):
        np.testing.assert_array_equal(one, two)
    runners = [task.runner(p) for p in (path, cut)]
    boxes, again = (r.read(r.session.run(None, {"images": x}), 0.1) for r in runners)
    assert len(boxes[1]) and np.array_equal(boxes[0], again[0])


def test_each_layout_reads_a_box_by_hand():
    """One box, corners 8 … 16 and 4 … 12 px of a 32×64 input, class 1, score 0.5."""
    size, corners = (32, 64), [8, 4, 16, 12]
    place = np.float32([12, 8, 8, 8, 0, 0.5])
    shares = np.float32([12 / 64, 8 / 32, 8 / 64, 8 / 32])
    grid = np.zeros((1, 32 + 8 + 2, 7), np.float32)  # strides 8, 16 and 32
    grid[0, 9] = [0.5, 0, 0, 0, 0.5, 0, 1]  # stride 8, column 1, row 1
    cases = [
        (layout.Layout("detect", "places", 0), [place[None, :, None]], corners),
        (layout.Layout("detect", "ranked", 0), [np.float32([[[*corners, 0.5, 1]]])], corners),
        (layout.Layout("detect", "ranked", 0, shares=True), [np.float32([[[*shares, 0.5, 1]]])], corners),
        (layout.Layout("detect", "objectness", 0), [np.float32([[[12, 8, 8, 8, 0.5, 0, 1]]])], corners),
        (layout.Layout("detect", "objectness", 0, raw=True), [grid], [8, 4, 16, 12]),
        (layout.Layout("detect", "queries", 0, shares=True), [np.float32([[[*shares, 0, 0.5]]])], corners),
        (layout.Layout("detect", "apart", 0), [np.float32([[corners]]), np.float32([[[0], [0.5]]])], corners),
    ]
    for each, outputs, expected in cases:
        boxes, scores, classes, _ = each.candidates(outputs, size, 0.25)
        assert np.allclose(boxes, [expected]) and scores == [0.5] and classes == [1], each


def test_what_belongs_to_boxes_is_compared_by_hand():
    mask, half = np.ones((2, 2), bool), np.array([[1, 1], [0, 0]], bool)
    assert tasks.named("instance_masks").alike(mask, half, None) == 0.5
    box, points = np.float64([0, 0, 10, 10]), np.float64([[1, 1, 0.9], [5, 5, 0.1]])
    moved = points + np.float64([1, 0, 0])  # d² = 1, area 100, κ = 0.1
    assert tasks.named("pose").alike(points, moved, box) == pytest.approx(np.exp(-1 / 2))
    rotated = np.float64([5, 5, 4, 2, 0.3])
    assert tasks.named("obb").alike(rotated, rotated, box) == pytest.approx(1)
    assert tasks.named("obb").alike(rotated, rotated + np.float64([0, 0, 0, 0, 0.8]), box) < 0.8


def test_agreement_of_instances_averages_what_was_matched():
    boxes = np.float64([[0, 0, 10, 10]]), np.array([0.9]), np.array([0])
    whole, half = np.ones((1, 4, 4), bool), np.zeros((1, 4, 4), bool)
    half[:, :2] = True
    found = tasks.named("instance_masks").agreement([Instances(boxes, whole)], [Instances(boxes, half)])
    assert found["mask_iou"].value == 0.5 and found["iou_drift"].value == 0
