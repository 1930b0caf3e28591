"""The workbench as a person uses it, without a browser."""

import contextlib
import re
import threading

import numpy as np
import pytest
from small_models import classifier

from helpers import assets, vision, widgets, workbench
from helpers.targets import target
from helpers.workbench import experiment, export, report


@pytest.fixture(scope="module")
def opened():
    return workbench.workbench(assets.model(), assets.images("validation")[:2], assets.images("calibration")[:3])


@pytest.fixture
def box(opened):
    opened.experiment.apply({"ranges": {}, "a16": [], "per_channel": True}, "start")
    opened.input.value, opened.tabs.selected_index, opened.find.value = 0, 0, ""
    opened.tensor.value = opened.experiment.tensors[0]
    opened.refresh()
    assert opened.wait()
    return opened


def drag(box, rmin=None, rmax=None):
    """What the hand leaves: the range as traits, then one more on `settled`."""
    box.tune.rmin = box.tune.rmin if rmin is None else rmin
    box.tune.rmax = box.tune.rmax if rmax is None else rmax
    box.tune.settled += 1


def test_a_drag_moves_boxes_numbers_list_and_history(box):
    tensor, before = box.tensor.value, (box.image.value, box.rows.value, box.numbers.value, box.history.value)
    count = len(box.experiment.history)
    drag(box, -0.5, 1.5)
    assert box.wait() and box.experiment.patched.ranges[tensor] == (-0.5, 1.5)
    after = box.image.value, box.rows.value, box.numbers.value, box.history.value
    assert not [a for a, b in zip(after, before, strict=True) if a == b]
    direct = vision.paired_metrics(box.experiment.reference, [box.experiment.results(k) for k in range(2)])
    assert box.experiment.history[-1]["metrics"]["iou_drift"] == tuple(direct["iou_drift"])
    assert f"{direct['iou_drift'].value:.3f}" in box.numbers.value and len(box.experiment.history) == count + 1
    assert "-0.5 … 1.5" in box.history.value and f"{direct['iou_drift'].value:.3f} (+" in box.history.value
    assert box.tensor.options[0][1] == box.experiment.tensors[0] and re.search(
        r"\d s after you asked", box.status.value
    )
    box.undo.click()
    assert box.wait() and (box.image.value, box.rows.value) == before[:2]
    assert (box.tune.rmin, box.tune.rmax) == box.experiment.patched.ranges[tensor]


def test_a_model_that_finds_nothing_has_no_mean_of_nothing(box):
    drag(box, rmax=0.0)
    assert box.wait() and [len(s[s > 0.25]) for _, s, _ in map(box.experiment.results, range(2))] == [0, 0]
    assert "no box" in box.numbers.value and "nan" not in box.numbers.value


@contextlib.contextmanager
def busy(box):
    """The workbench at work on another picture, for as long as the `with` lasts."""
    go, started, detect = threading.Event(), threading.Event(), box.experiment.results
    box.experiment.results = lambda *a: (started.set(), go.wait(10), detect(*a))[2]
    box.input.value = 1 - box.input.value
    assert started.wait(10)
    try:
        yield
    finally:
        go.set()
        assert box.wait()
        del box.experiment.results


def test_the_last_value_wins_and_nothing_queues(box):
    count, tensor = len(box.experiment.history), box.tensor.value
    with busy(box):
        for right in (9.0, 8.0, 7.0, 6.0, 5.0):
            drag(box, rmax=right)
    assert box.experiment.patched.ranges[tensor][1] == 5.0 and box._shown["picture"][1] == repr(box.experiment.settings)
    assert len(box.experiment.history) == count + 1, "what came between was never computed"


def test_a_drag_on_another_tensor_loses_none(box):
    first, second = box.experiment.tensors[:2]
    with busy(box):
        drag(box, rmax=3.0)
        box.tensor.value = second
        drag(box, rmax=4.0)
    assert [box.experiment.patched.ranges[t][1] for t in (first, second)] == [3.0, 4.0]


def test_the_dtype_of_the_instrument_is_the_models(box):
    box.tune.dtype = "uint16"
    assert box.wait() and box.experiment.dtype(box.tensor.value) == "uint16" == box.bits.value
    box.tune.dtype = "int4"
    assert box.wait() and "use uint8 or uint16" in box.status.value and box.tune.dtype == "uint16"


def test_bits_symmetric_and_weights(box):
    tensor = box.tensor.value
    box.bits.value = "uint16"
    assert box.wait() and box.experiment.dtype(tensor) == "uint16" == box.tune.dtype
    drag(box, -1.0, 2.0)
    box.symmetric.value = True
    assert box.wait() and box.experiment.patched.ranges[tensor] == (-2.0, 2.0) == (box.tune.rmin, box.tune.rmax)
    box.weights.value = ("int8", False)
    assert box.wait() and not box.experiment.patched.per_channel
    for _ in range(4):
        box.undo.click()
    assert box.wait()
    assert box.weights.value == ("int8", True) and box.bits.value == "uint8" and not box.symmetric.value


def test_as_htp_computes_it(box, monkeypatch):
    box.htp.click()
    assert box.wait() and box.experiment.history[-1]["target"] == "integer" and "HTP" in box.status.value
    drag(box, rmax=3.0)
    assert box.wait() and box.experiment.history[-1]["target"] == "cpu" == box.target
    box.bits.value = "uint16"
    assert box.wait()
    monkeypatch.setattr(target, "targets", lambda: {"cpu": "", "integer": ""})
    box.htp.click()
    assert box.wait() and "16-bit tensors need the HTP" in box.status.value


def test_search_keeps_the_chosen_tensor(box):
    tensor = box.tensor.value
    box.find.value = "MODEL.22 cv3"
    names = [t for _, t in box.tensor.options]
    assert tensor in names and len(names) > 5 and box.tensor.value == tensor
    assert all("model.22" in t and "cv3" in t for t in names if t != tensor)


def test_a_against_b(box):
    box.keep["A"].click()
    drag(box, -0.5, 1.5)
    box.wait()
    box.keep["B"].click()
    settings = box.experiment.settings
    box.tabs.selected_index = 2
    assert box.wait() and box.experiment.settings == settings
    a, b = (side.value for side in box.sides.values())
    assert a.startswith("<b>A</b>: as at the start") and f"<b>B</b>: {box.tensor.value}   -0.5 … 1.5" in b
    assert a.split("<img")[1] != b.split("<img")[1] and "<th>change</th>" in box.versus.value


def test_what_fails_is_said_and_the_next_works(box):
    box.tensor.value = "/model.1/act/Mul_output_0"
    drag(box, 0, 1e-30)
    assert box.wait() and "more than 32 bits" in box.status.value
    drag(box, -1.0, 2.0)
    assert box.wait() and "boxes by the CPU" in box.status.value


def test_exports_and_sessions_go_through_the_buttons(box, tmp_path):
    drag(box, rmax=3.0)
    box.wait()
    for kind, (name, _) in export.EXPORTS.items():
        if "context" not in kind:
            box.kind.value = kind
            assert box.file.value == name and name.startswith("out/")
            box.file.value = str(tmp_path / name)
            box.write.click()
            assert box.wait() and (tmp_path / name).stat().st_size > 0 and name in box.said.value
    drag(box, rmax=2.0)
    box.read.click()
    assert box.wait() and box.tune.rmax == 3.0
    assert "session.json, " in box.said.value and "steps of history" in box.said.value and "… 3 " in box.said.value
    written = vision.Detector(tmp_path / "out" / "int8.onnx")
    assert np.array_equal(written.results(box.experiment.inputs[0])[0], box.experiment.results(0)[0])
    box.file.value = str(tmp_path / "none.json")
    box.read.click()
    assert box.wait() and "none.json" in box.said.value


def test_a_picture_stays_where_no_kernel_runs(box):
    bundle = box._repr_mimebundle_()
    assert bundle["image/png"][:4] == b"\x89PNG" and "application/vnd.jupyter.widget-view+json" in bundle
    assert "Try:" in box.children[1].value and {"workbench"} <= set(box._dom_classes)


def test_own_pictures_alone_also_calibrate():
    own = workbench.workbench(pictures=assets.images("validation")[:1])
    assert own.experiment.calibration == own.experiment.inputs and isinstance(own.experiment, experiment.Experiment)


def test_no_export_writes_over_the_model_or_a_picture(box, tmp_path, monkeypatch):
    mine = [tmp_path / "model.onnx", tmp_path / "picture.png"]
    for path in mine:
        path.write_bytes(b"my own")
    monkeypatch.setattr(box.experiment, "model", mine[0])
    monkeypatch.setattr(box.experiment, "calibration", mine[1:])
    for _, write in export.EXPORTS.values():
        for path in mine:
            with pytest.raises(ValueError, match=f"{path.name}: is read here and would be written over"):
                write(box.experiment, path)
    assert {f.read_bytes() for f in tmp_path.iterdir()} == {b"my own"} and len(list(tmp_path.iterdir())) == 2


def test_a_model_of_the_last_resort_opens_with_its_outputs_before_and_after(tmp_path):
    model, folder = classifier(tmp_path)
    ui = widgets.workbench(model, folder, folder, task="tensors")
    assert ui.wait() and ui.experiment.task.name == "tensors" and "outputs by the CPU" in ui.status.value
    left, right = report.overlay(ui.experiment, 0).axes
    assert left.get_xlabel() == "FP32, of the largest" and "error" in right.get_ylabel()
    with pytest.raises(ValueError, match="task 'poetry' is unknown; choose one of"):
        widgets.workbench(model, folder, task="poetry")


def test_a_picture_beside_others_stays_in_its_place():
    few = assets.images("classification/validation")[:1]
    ui = widgets.workbench(assets.model("shapes_classifier"), few, assets.images("classification/calibration")[:4])
    assert ui.wait() and ui.experiment.task.name == "classification"
    left, right = report.overlay(ui.experiment, 0).axes
    left.figure.draw_without_rendering()
    assert left.get_position().x1 <= right.get_position().x0
