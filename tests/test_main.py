"""The command line: the main job end to end, and bad input as one sentence with exit code 2."""

import json
import shutil
import signal
import subprocess
import sys

import onnx
import pytest
from conftest import needs_htp
from PIL import Image
from small_models import detector

from helpers import assets, graph, tasks, vision
from helpers.__main__ import main
from helpers.workbench.commands._inputs import listed, pick

DETECTION = tasks.named("detection")


@pytest.fixture(scope="module")
def out(work):
    assert main(["quantize", str(assets.model()), "--limit", "16", "-o", str(work / "out")]) == 0
    return work / "out"


def test_quantize_writes_both_graphs_and_the_ranges(out):
    assert sorted(p.name for p in out.iterdir()) == ["fp32.onnx", "int8.onnx", "ranges.json"]
    record = json.loads((out / "ranges.json").read_text())
    places = [[p.name for p in assets.images()].index(name) for name in record["calibrated_on"]]
    assert [place // 4 for place in places] == [*range(16)], "64 pictures in 16 stretches, one from each"
    assert record["ranges"]["images"] == [pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05)]


def test_weights_in_four_bits_are_asked_for_by_name(tmp_path):
    model = detector(tmp_path / "small.onnx")
    assert main(["quantize", str(model), "--limit", "2", "--weight", "int4", "-o", str(tmp_path / "out")]) == 0
    dtypes = {name: qp.dtype for name, qp in graph.list_qparams(tmp_path / "out" / "int8.onnx").items()}
    assert {dtypes[f"w{k}"] for k in range(3)} == {"int4"} and dtypes["images"] == "uint8"


def test_the_recipe_writes_its_report_and_a_later_run_without_one_removes_it(tmp_path, capsys):
    model = detector(tmp_path / "small.onnx")
    command = ["quantize", str(model), "--limit", "3", "-o", str(tmp_path / "out")]
    assert main([*command, "--recipe", "best"]) == 0
    assert "weights rounded with inputs in view" in capsys.readouterr().out
    names = ["fp32.onnx", "int8.onnx", "ranges.json", "report.json", "report.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=refuse)
    assert len(found["steps"]) >= 4 and all(set(step) == {"step", "score", "box", "seconds"} for step in found["steps"])
    assert found["kept"] == min(found["steps"], key=lambda s: s["score"] + s["box"])["step"]
    assert found["paired"]["agreement"][0] > 0.8
    assert found["activation_tensors"] == len(found["sqnr_db"]) == len(graph.Model.of(model).nodes)
    record = json.loads((tmp_path / "out" / "ranges.json").read_text())
    assert record["a16"] == found["a16"]
    assert record["calibrated_on"] == [p.name for p in pick(assets.images(), 3)], "so few that all calibrate"
    assert record["judged_on"] == found["judged_on"] and set(record["judged_on"]) <= set(record["calibrated_on"])
    with Image.open(tmp_path / "out" / "report.png") as page:
        assert page.width == 800 and page.height > 800
    assert main(command) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names[:3]


@pytest.fixture
def classes(tmp_path):
    """30 pictures sorted by class into three folders, and one file that is no picture."""
    for k in range(30):
        path = tmp_path / "classes" / "cat dog owl".split()[k // 10] / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "classes" / "x.npy").touch()
    return tmp_path / "classes"


@pytest.mark.parametrize("limit", [1, 3, 7, 29])
def test_a_limit_takes_from_the_whole_folder_and_always_the_same(classes, limit, capsys):
    found = pick(listed(DETECTION, str(classes)), limit)
    assert found == pick(listed(DETECTION, str(classes)), limit) == sorted(found) and len(set(found)) == limit
    kinds = [p.parent.name for p in found]
    assert all(abs(kinds.count(kind) - limit / 3) <= 1 for kind in ("cat", "dog", "owl"))
    assert "1 × .npy passed over; 30 pictures are read" in capsys.readouterr().err


def test_pictures_that_set_the_ranges_are_judged_last(classes):
    whole = pick(listed(DETECTION, str(classes)), None)
    seen = {p.name for p in whole[::2]}
    assert not seen & {p.name for p in pick(listed(DETECTION, str(classes)), 15, seen)}
    assert len(seen & {p.name for p in pick(listed(DETECTION, str(classes)), 18, seen)}) == 3
    assert pick(listed(DETECTION, str(classes)), None, seen) == pick(listed(DETECTION, str(classes)), 30, seen) == whole


def test_evaluate_says_whether_its_pictures_set_the_ranges(out, tmp_path, capsys):
    assert main(["evaluate", str(out), "--images", "calibration", "--limit", "4"]) == 0
    assert capsys.readouterr().out.startswith("4 pictures of calibration, none of which set the ranges\n")
    seen = set(json.loads((out / "ranges.json").read_text())["calibrated_on"])
    both = [p for p in assets.images() if p.name in seen][:4] + [p for p in assets.images() if p.name not in seen][:2]
    for path in (file for p in both for file in (p, p.parents[1] / "labels" / f"{p.stem}.txt")):
        (tmp_path / "few" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "few" / path.parent.name)
    assert main(["evaluate", str(out), "--images", str(tmp_path / "few"), "--limit", "3"]) == 0
    assert "note: 1 of these pictures also set the ranges; judge on others." in capsys.readouterr().out


@needs_htp
def test_evaluate_ends_with_the_three_way_table(out, capsys):
    assert main(["evaluate", str(out), "--target", "htp", "--limit", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line[:8]: [float(v) for v in line.split()[2:]] for line in lines if line.startswith(("FP32", "INT8"))}
    assert set(table) == {"FP32 CPU", "INT8 CPU", "INT8 HTP"}
    assert all(table["FP32 CPU"][0] - ap < 0.06 and ap50 >= ap for ap, ap50 in table.values())
    count, _, total, *_ = next(line for line in lines if line.endswith("on HTP")).split()
    assert count == total and int(total) > 100


@needs_htp
def test_the_integers_score_as_the_htp_does_and_compile_writes_a_context_with_its_passport(out, capsys, tmp_path):
    assert main(["evaluate", str(out), "--target", "htp", "--limit", "3"]) == 0
    theirs = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("INT8 HTP"))
    assert main(["evaluate", str(out), "--target", "integer", "--limit", "3"]) == 0
    ours = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("as on HTP"))
    assert ours.split()[-2:] == theirs.split()[-2:]

    assert main(["compile", str(out / "int8.onnx"), "-o", str(tmp_path / "net.onnx")]) == 0
    assert "soc_model 60, v73" in capsys.readouterr().out
    assert json.loads((tmp_path / "net.json").read_text())["ranges"] == "percentile, 16 pictures"
    assert main(["compile", str(tmp_path / "gone.onnx")]) == 2


def test_doctor_names_the_target_and_what_is_missing(capsys, monkeypatch):
    monkeypatch.setenv(assets.VARIABLE, "")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "target cpu" in text and "target htp" in text and "fetch yolov8n" in text


def bad(tmp_path, case, int8):
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "picture.jpg").write_bytes(b"no picture")
    (tmp_path / "text.onnx").write_text("no model")
    dynamic = onnx.load(assets.model())
    dynamic.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    del dynamic.metadata_props[:]  # which name the size
    onnx.save(dynamic, tmp_path / "dynamic.onnx")
    shutil.copy(int8, tmp_path / "int8.onnx")
    model = str(assets.model())
    return {
        "no file": (["quantize", "nowhere.onnx"], "nowhere.onnx"),
        "not ONNX": (["quantize", str(tmp_path / "text.onnx")], "text.onnx: not an ONNX model"),
        "dynamic": (["quantize", str(tmp_path / "dynamic.onnx")], "'images' is 1×3×height×320 and the HTP needs fixed"),
        "no pictures": (["quantize", model, "--calibrate", str(tmp_path / "empty")], "empty: holds no pictures"),
        "no folder": (["quantize", model, "--calibrate", "nowhere"], "nowhere"),
        "broken": (["quantize", model, "--calibrate", str(tmp_path / "broken")], "picture.jpg: cannot be read"),
        "QDQ for FP32": (["quantize", str(tmp_path / "int8.onnx")], "int8.onnx: already quantized"),
        "no out": (["evaluate", str(tmp_path / "nowhere")], "helpers quantize"),
    }[case]


@pytest.mark.parametrize(
    "case", ["no file", "not ONNX", "dynamic", "no pictures", "no folder", "broken", "QDQ for FP32", "no out"]
)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(case, int8, tmp_path, capsys):
    argv, message = bad(tmp_path, case, int8)
    if argv[0] == "quantize":
        argv += ["-o", str(tmp_path / "made" / "out")]
    assert main(argv) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error and error.startswith("error: ") and "Traceback" not in error
    assert not list((tmp_path / "made").rglob("*"))


WAIT = """
import sys, threading
from helpers import __main__, vision
real = vision.Feeds.__getitem__
def wait(self, index):
    if index == 11:
        print("ready", flush=True)
        threading.Event().wait(60)
    return real(self, index)
vision.Feeds.__getitem__ = wait
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a console, not to a process")
def test_a_real_ctrl_c_ends_quantize_with_130_and_nothing_written(tmp_path):
    command = ["quantize", str(assets.model()), "--limit", "16", "-o", str(tmp_path / "made" / "out")]
    run = subprocess.Popen([sys.executable, "-c", WAIT, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True)  # fmt: skip
    assert run.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGINT)
    out, error = run.communicate(timeout=60)
    assert run.returncode == 130 and "interrupted" in error and "ranges" not in out
    assert not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize("more", [[], ["--recipe", "best"]])
@pytest.mark.parametrize("at", [0, 11])
def test_ctrl_c_at_a_feed_ends_quantize_too(tmp_path, monkeypatch, capsys, more, at):
    real = vision.Feeds.__getitem__

    def stop(self, index):
        if index == at:
            raise KeyboardInterrupt
        return real(self, index)

    monkeypatch.setattr(vision.Feeds, "__getitem__", stop)
    assert main(["quantize", str(assets.model()), "--limit", "16", *more, "-o", str(tmp_path / "made" / "out")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted" and not list((tmp_path / "made").iterdir())


def test_a_failed_run_keeps_what_an_earlier_one_made(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    again = ["quantize", str(assets.model()), "--calibrate", str(tmp_path / "x.jpg"), "-o", str(tmp_path / "out")]
    assert main(again) == 2
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx", "report.png"])
def test_quantize_writes_over_nothing_that_it_reads(tmp_path, capsys, monkeypatch, name):
    """The model, under any spelling or through a link, and the pictures."""
    (tmp_path / "d").mkdir()
    shutil.copy(assets.model(), tmp_path / "model.onnx")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "d" / name)
    Image.new("RGB", (8, 8)).save(tmp_path / "d" / "report.png")
    if name.endswith(".onnx"):
        shutil.copy(assets.model(), tmp_path / "d" / name)
    before = {p.name: p.read_bytes() for p in (tmp_path / "d").iterdir()}
    monkeypatch.chdir(tmp_path)
    models = [f"d/{name}", f"{tmp_path}/d/../d/{name}", "link.onnx"] if name.endswith(".onnx") else ["model.onnx"]
    for model in models:
        pictures = ["--calibrate", "d"] if name == "report.png" else []
        assert main(["quantize", model, "-o", "d", "--limit", "1", *pictures]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: d/{name}: is read here and would be")
    assert {p.name: p.read_bytes() for p in (tmp_path / "d").iterdir()} == before


def test_a_recipe_leaves_no_width_to_choose(tmp_path, capsys):
    command = ["quantize", str(assets.model()), "--recipe", "best", "--activation", "uint16", "-o", str(tmp_path / "o")]
    assert main(command) == 2 and not (tmp_path / "o").exists()
    assert "leave --activation out" in capsys.readouterr().err
