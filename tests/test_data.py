"""The embedded pictures and model: what the renderer promises and what is committed."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

DATA = Path(__file__).resolve().parents[1] / "data"
sys.path.insert(0, str(DATA))
import scenes  # noqa: E402

LIGHT = np.array([0.0, -0.6, 0.8])
PICTURES = {"calibration": 64, "validation": 128}


def alone(kind, size, seed=0, centre=(160.0, 160.0)):
    """Draw one object without its shadow."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((3, scenes.SIZE, scenes.SIZE), np.float32)
    return scenes.draw(canvas, [(kind, size, np.array(centre))], LIGHT, rng, shadow=0)


def labels(picture: Path) -> np.ndarray:
    return np.loadtxt(picture.parents[1] / "labels" / f"{picture.stem}.txt", ndmin=2)


def corners(rows: np.ndarray) -> np.ndarray:
    return np.hstack([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2]) * scenes.SIZE


def iou(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    overlap = np.clip(np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2]), 0, None).prod(1)
    return overlap / ((one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(1) - overlap)


def test_a_seed_gives_the_same_scene_and_another_seed_another():
    (first, boxes), (again, boxes_again), (other, _) = scenes.scene(5), scenes.scene(5), scenes.scene(6)
    assert first.tobytes() == again.tobytes() and boxes.tobytes() == boxes_again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("seed", range(12))
def test_scene_has_sound_boxes(seed):
    picture, boxes = scenes.scene(seed)
    assert picture.shape == (scenes.SIZE, scenes.SIZE, 3) and picture.dtype == np.uint8
    assert 1 <= len(boxes) <= 12
    assert ((boxes[:, 0] >= 0) & (boxes[:, 0] < len(scenes.CLASSES))).all()
    assert (boxes[:, 1:] >= 0).all() and (boxes[:, 1:] <= scenes.SIZE).all()
    assert (boxes[:, 3:] > boxes[:, 1:3]).all()


def test_box_of_a_ball_is_its_diameter():
    assert alone("ball", 100)[1].tolist() == [[0, 110, 110, 210, 210]]


@pytest.mark.parametrize("kind", scenes.CLASSES)
@pytest.mark.parametrize("centre", [(160.0, 160.0), (20.0, 300.0)])
def test_box_is_the_extent_of_the_pixels_drawn(kind, centre, monkeypatch):
    shade = scenes.sprite

    def white(*args):
        rgb, alpha = shade(*args)
        return np.ones_like(rgb), alpha

    monkeypatch.setattr(scenes, "sprite", white)  # a white object on black: the picture is its coverage
    canvas, boxes = alone(kind, 90, centre=centre)
    ys, xs = np.nonzero(canvas[0] >= 0.5)
    assert boxes.tolist() == [[scenes.CLASSES.index(kind), xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]


def test_box_is_the_visible_extent_and_a_hidden_object_is_not_drawn():
    black, rng = np.zeros((3, scenes.SIZE, scenes.SIZE), np.float32), np.random.default_rng(0)
    pair = [("ball", 100.0, np.array([x, 160.0])) for x in (130.0, 170.0)]
    boxes = scenes.draw(black, pair, LIGHT, rng)[1]
    assert boxes[0, 3] == pytest.approx(150, abs=1.5)  # where the two circles meet, not 180
    assert boxes[1].tolist() == [0, 120, 110, 220, 210]
    hidden = [("star", 50.0, np.array([160.0, 160.0])), ("ball", 100.0, np.array([160.0, 160.0]))]
    assert scenes.draw(black, hidden, LIGHT, rng)[1].tolist() == [[0, 110, 110, 210, 210]]


def test_rendering_needs_no_torch():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import make; print('torch' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code, str(DATA)], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "False"


@pytest.mark.parametrize("folder", PICTURES)
def test_committed_labels_parse_and_lie_within_the_picture(folder):
    pictures = sorted((DATA / folder / "images").glob("*.jpg"))
    assert len(pictures) == PICTURES[folder] == len(list((DATA / folder / "labels").glob("*.txt")))
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.size == (scenes.SIZE, scenes.SIZE)
        rows = labels(picture)
        assert rows.shape[1] == 5 and set(rows[:, 0]) <= set(range(len(scenes.CLASSES)))
        assert (corners(rows) > -0.01).all() and (corners(rows) < scenes.SIZE + 0.01).all()


@pytest.mark.parametrize("folder", PICTURES)
def test_committed_picture_is_what_its_seed_renders(folder):
    for path in sorted((DATA / folder / "images").glob("*.jpg"))[::25]:
        picture, boxes = scenes.scene(int(path.stem))
        with Image.open(path) as image:
            assert np.abs(np.asarray(image).astype(int) - picture).mean() < 6  # what JPEG takes of the noise
        np.testing.assert_array_equal(labels(path)[:, 0], boxes[:, 0])
        np.testing.assert_allclose(corners(labels(path)), boxes[:, 1:], atol=1)


def test_no_picture_is_in_both_sets_and_all_are_small():
    files = [path for folder in PICTURES for path in (DATA / folder / "images").glob("*.jpg")]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in files}) == sum(PICTURES.values())
    assert sum(path.stat().st_size for path in files) <= 5_000_000


@pytest.fixture(scope="module")
def model():
    return onnx.load(DATA / "scenes.onnx")


def test_model_is_small_valid_static_and_float32(model):
    assert (DATA / "scenes.onnx").stat().st_size <= 4_000_000
    onnx.checker.check_model(model, full_check=True)
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)]
    assert shapes == [[1, 3, 320, 320], [1, 4 + len(scenes.CLASSES), 2100]]
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT}


def test_model_is_a_yolov8(model):
    nodes = {output: node for node in model.graph.node for output in node.output}
    silu = [n for n in nodes.values() if n.op_type == "Mul" and nodes.get(n.input[1], n).op_type == "Sigmoid"]
    silu = [n for n in silu if nodes[n.input[1]].input[0] == n.input[0]]  # x · sigmoid(x)
    assert len(silu) == 57 and sum(n.op_type == "Conv" for n in nodes.values()) == 64
    pools = [n for n in nodes.values() if n.op_type == "MaxPool"]  # SPPF: three poolings in a row, 5 × 5
    assert [n.input[0] for n in pools[1:]] == [n.output[0] for n in pools[:-1]] and len(pools) == 3
    assert all(list(a.ints) == [5, 5] for n in pools for a in n.attribute if a.name == "kernel_shape")
    assert sum(n.op_type == "Softmax" for n in nodes.values()) == 1  # DFL


def test_model_names_its_classes_and_no_machine(model):
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert list(scenes.CLASSES) == json.loads((DATA / "classes.json").read_text(encoding="utf-8"))
    assert told["names"] == str(dict(enumerate(scenes.CLASSES)))
    assert set(told) == {"names", "stride", "imgsz", "task", "author", "license"}
    assert b"/tmp/" not in (DATA / "scenes.onnx").read_bytes()


def test_model_finds_the_large_objects():
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(DATA / "scenes.onnx", providers=["CPUExecutionProvider"])
    found = []
    for path in sorted((DATA / "validation" / "images").glob("*.jpg"))[:16]:
        with Image.open(path) as image:
            pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
        (out,) = session.run(None, {"images": pixels})
        sure = out[0][:, out[0][4:].max(0) > 0.25].T
        boxes = np.hstack([sure[:, :2] - sure[:, 2:4] / 2, sure[:, :2] + sure[:, 2:4] / 2])
        for row, box in zip(labels(path), corners(labels(path)), strict=True):
            if min(box[2:] - box[:2]) >= 32:
                found.append((iou(box, boxes[sure[:, 4:].argmax(1) == row[0]]) > 0.75).any())
    assert len(found) > 40 and np.mean(found) > 0.9
