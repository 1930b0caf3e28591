"""Files that we did not make: every YOLOv8 that some version of Ultralytics exports is cut, quantized and run."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from onnx import numpy_helper
from PIL import Image

from helpers import assets, calibrate, graph, qdq, repair, session, tasks, vision, workbench
from helpers.__main__ import main
from helpers.tasks import yolo_head

FOLDER = Path(__file__).parents[1] / "exports"
NAMES = sorted(path.stem for path in FOLDER.glob("v8*.onnx"))
CELLS = {"v8.3.0-wide": ((32, 52), (16, 26), (8, 13)),
         "v8.3.0-p2": ((32, 32), (16, 16), (8, 8), (4, 4)),
         "v8.3.0-two": ((8, 6), (4, 3))}  # fmt: skip


def filled(name: str, folder: Path) -> Path:
    """An export with seeded weights in place of those that were dropped, its activations near a variance of one."""
    model, rng = onnx.load(FOLDER / f"{name}.onnx"), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if not tensor.raw_data and not tensor.float_data and tensor.data_type == onnx.TensorProto.FLOAT:
            score = ".cv3." in tensor.name and tensor.dims[0] == 3
            gain = (0.4 if score else 1.5) / np.sqrt(np.prod(tensor.dims[1:]))
            values = rng.normal(0, gain, tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(model, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


def candidates(path, x, conf: float = 0.0):
    """Every box, score and class of a detector before suppression, in an order that a cut does not change."""
    detector = vision.Detector(path)
    xyxy, scores, classes = vision.decode(detector.session.run(None, {detector.input: x}), detector.size, conf)
    order = np.argsort(classes, kind="stable")
    return xyxy[order], scores[order], classes[order]


@pytest.mark.parametrize("name", NAMES)
def test_every_export_is_taken_and_its_cut_changes_no_candidate(name, tmp_path):
    path = filled(name, tmp_path)
    cut = qdq.split_head(path, tmp_path / "cut.onnx")
    model = graph.read_model(cut)
    found = yolo_head.find(graph.read_model(path))
    assert found == yolo_head.find(model) and found.outputs == qdq.head_convs(model) == [
        o.name for o in model.graph.output
    ]
    assert found.cells == CELLS.get(name, ((16, 16), (8, 8), (4, 4))) and (found.reg_max, found.classes) == (16, 3)
    assert all("/cv2." in box for box in found.boxes) and all("/cv3." in score for score in found.scores)
    x = next(iter(vision.Feeds(assets.images()[:1], path)))["images"]
    assert str(list(x.shape[2:])) == {p.key: p.value for p in model.metadata_props}["imgsz"]
    whole, parts = candidates(path, x), candidates(cut, x)
    assert len(whole[1]) == 3 * sum(h * w for h, w in found.cells)
    np.testing.assert_allclose(parts[0], whole[0], atol=0.01)
    np.testing.assert_allclose(parts[1], whole[1], atol=1e-4)
    np.testing.assert_array_equal(parts[2], whole[2])
    assert 0.01 < (whole[1] > 0.5).mean() < 0.9, "the seeded weights see something, and not everywhere"


@needs_htp
@pytest.mark.parametrize("name", ["v8.0.200", "v8.3.0-two", "v8.3.0-wide"])
def test_integer_computes_the_codes_of_the_htp(name, tmp_path):
    """The first Add of the wide one reads a tensor at its Concat's scale, where its constant is a half: down."""
    cut = qdq.split_head(filled(name, tmp_path), tmp_path / "cut.onnx")
    feeds = list(vision.Feeds(assets.images()[:2], cut))
    ranges = {t: calibrate.minmax(h) for t, h in calibrate.observe(cut, feeds).items()}
    int8 = qdq.quantize_model(cut, tmp_path / "int8.onnx", ranges)
    at_input = qdq.list_qparams(int8)["images"]
    x = np.rint(feeds[0]["images"] / at_input.scale) * np.float32(at_input.scale)  # on the input's grid
    ours, theirs = (session.load(int8, target).run(None, {"images": x}) for target in ("integer", "htp"))
    for tensor, a, b in zip(qdq.head_convs(graph.read_model(int8)), ours, theirs, strict=True):
        scale = qdq.list_qparams(int8)[tensor].scale
        np.testing.assert_array_equal(np.rint(a / scale), np.rint(b / scale), tensor)


def test_an_input_that_is_not_square_goes_through_the_command_line(tmp_path, capsys):
    path, out = filled("v8.3.0-wide", tmp_path), tmp_path / "out"
    assert main(["quantize", str(path), "--limit", "2", "-o", str(out)]) == 0
    assert main(["evaluate", str(out), "--limit", "2"]) == 0
    table = [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert table == ["FP32", "INT8"] and vision.Feeds(assets.images()[:1], out / "int8.onnx").size == (256, 416)


@pytest.mark.parametrize("name", ["v8.0.200", "v8.3.0-wide", "v8.3.0-p2", "v8.3.0-two"])
def test_the_recipe_takes_heads_of_any_number_of_outputs(name, tmp_path, monkeypatch):
    minmax = calibrate.METHODS["minmax"]  # the searches are tested elsewhere
    monkeypatch.setattr(repair.ranges, "silu_range", lambda h, *_, **__: minmax(h))
    monkeypatch.setitem(calibrate.METHODS, "mse", minmax)
    cut = qdq.split_head(filled(name, tmp_path), tmp_path / "cut.onnx")
    feeds = list(vision.Feeds(assets.images()[:2], cut))
    histograms = calibrate.observe(cut, feeds)
    ranges = repair.functional_ranges(cut, histograms)
    found = yolo_head.find(graph.read_model(cut))
    assert tasks.outputs(cut) == found.outputs
    assert [ranges[t][1] for t in found.scores] == [max(histograms[t].max + 0.5, 0) for t in found.scores]
    assert [ranges[t] for t in found.boxes] == [(max(histograms[t].min, -4), histograms[t].max) for t in found.boxes]
    wide = {t: calibrate.minmax(h) for t, h in histograms.items()}
    front = repair.search_a16(cut, ranges, wide, feeds[:1], share=0.1, tries=0)
    assert front[-1]["a16"] in ([], list(found.boxes)) and front[0]["drift"].total > 0


@pytest.mark.parametrize("name", ["v8.3.0-wide", "v8.3.0-two"])
def test_the_workbench_takes_them_too(name, tmp_path):
    opened = workbench.workbench(filled(name, tmp_path), assets.images("validation")[:1], assets.images()[:1])
    assert opened.wait()
    experiment = opened.experiment
    assert experiment.sample("images", 0).shape[2:] == experiment._feeds.size != (320, 320)
    xyxy, scores, _ = experiment.results(0)
    assert len(scores) and xyxy.max() > 0 and "img" in opened.image.value


def test_boxes_come_back_in_the_pixels_of_the_picture_itself(tmp_path):
    """A box of the wide model's input, by arithmetic: H×W is 256×416, the picture 832×256, so gain ½ and 64 above."""
    box, score = np.full((1, 64, 32, 52), -50.0, np.float32), np.full((1, 1, 32, 52), -9.0, np.float32)
    box[0, [1, 17, 33, 49]] = 50  # each side one stride, 8 px, away
    score[0, 0, 12, 20] = 3
    detector = vision.Detector(qdq.split_head(filled("v8.3.0-wide", tmp_path), tmp_path / "cut.onnx"))
    detector.session = type("Session", (), {"run": lambda *_: [box, score]})()
    xyxy, scores, _ = detector.detect(Image.new("RGB", (832, 256)))
    low, high = (20.5 * 8 - 8, 12.5 * 8 - 8), (20.5 * 8 + 8, 12.5 * 8 + 8)
    np.testing.assert_allclose(xyxy, [[2 * low[0], 2 * (low[1] - 64), 2 * high[0], 2 * (high[1] - 64)]])
    assert len(scores) == 1


def classifier(folder: Path, kernel: int) -> Path:
    """Conv → GlobalAveragePool → Gemm → Softmax, as a picture's classifier ends; a kernel of 32 leaves one place."""
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[1,3,32,32] images) => (float[1,5] probability) {{
        a = Conv <kernel_shape = [{kernel}, {kernel}], strides = [2, 2]> (images, w)  b = Relu(a)
        c = GlobalAveragePool(b)  d = Flatten(c)  e = Gemm(d, v)  probability = Softmax(e) }}"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in (("w", (8, 3, kernel, kernel)), ("v", (8, 5))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    onnx.save(model, folder / "classifier.onnx")
    return folder / "classifier.onnx"


@pytest.mark.parametrize("kernel", [3, 32])
def test_a_classifier_is_not_taken_for_a_detector(kernel, tmp_path, capsys):
    path = classifier(tmp_path, kernel)
    assert main(["quantize", str(path), "-o", str(tmp_path / "out")]) == 2 and not (tmp_path / "out").exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert "classifier.onnx: say what to calibrate on with `--calibrate FOLDER`" in error and "numpy.savez" in error
    assert tasks.recognise(path).name == "classification"
    with pytest.raises(ValueError, match=r"classifier\.onnx: no YOLOv8 detection head found"):
        qdq.split_head(path, tmp_path / "cut.onnx")
    with pytest.raises(ValueError, match=r"classifier\.onnx: is no YOLOv8 detector.*'probability' 1×5; give one"):
        vision.Detector(path)
    with pytest.raises(ValueError, match="cut the head first"):
        tasks.outputs(path)


def test_a_head_with_more_than_boxes_and_scores_is_named(tmp_path):
    """A segmenter has mask coefficients beside the scores: here a third branch at each stride."""
    model = onnx.load(filled("v8.3.200", tmp_path))
    for k in range(3):
        conv = next(n for n in model.graph.node if n.output[0] == f"/model.22/cv3.{k}/cv3.{k}.2/Conv_output_0")
        other = onnx.NodeProto()
        other.CopyFrom(conv)
        other.name, other.output[0] = f"mask{k}", f"mask{k}"
        model.graph.node.append(other)
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"mask{k}", 1, None))
    onnx.save(model, tmp_path / "seg.onnx")
    with pytest.raises(ValueError, match=r"seg\.onnx: has 3 convolutions for boxes and 6 others at its end"):
        qdq.split_head(tmp_path / "seg.onnx", tmp_path / "cut.onnx")
