"""Chapter 12's pictures and models: what is committed, and that it is what its script makes."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from helpers import assets, targets

DATA = Path(__file__).resolve().parents[1] / "data"
sys.path.insert(0, str(DATA))
import make_nets  # noqa: E402
import scenes  # noqa: E402

KEPT = [(task, split) for task in make_nets.KEPT for split in make_nets.KEPT[task]]
SCORES = {"shapes_classifier": (1, 8), "shapes_attention": (1, 8), "shapes_segmenter": (1, 9, 96, 96)}


@pytest.mark.parametrize("task, split", KEPT)
def test_the_committed_pictures_are_what_their_seeds_render(task, split):
    paths = sorted((DATA / task / split).rglob("*.jpg"))
    assert len(paths) == make_nets.KEPT[task][split]
    for path in paths[::16]:
        picture, mask = scenes.small_scene(int(path.stem), make_nets.SIDE[task], make_nets.MOST[task])
        with Image.open(path) as image:
            assert np.abs(np.asarray(image).astype(int) - picture).mean() < 12  # what JPEG takes of the noise
        if task == "classification":
            assert path.parent.name == scenes.CLASSES[mask.max() - 1]
        else:
            with Image.open(path.parents[1] / "masks" / f"{path.stem}.png") as image:
                np.testing.assert_array_equal(np.asarray(image), mask)


def test_pictures_are_small_and_in_one_set_each():
    paths = [path for task, split in KEPT for path in (DATA / task / split).rglob("*.*")]
    assert sum(path.stat().st_size for path in paths) < 1_500_000
    seeds = [range(first, first + count) for first, count in make_nets.SPLITS.values()]
    seeds.append(range(make_nets.TRAIN_SEED, make_nets.TRAIN_SEED + 100_000))
    assert all(a.stop <= b.start for a, b in pairwise(seeds))


def test_a_mask_holds_the_class_that_is_seen():
    picture, mask = scenes.small_scene(3, 96, 4)
    assert picture.shape == (96, 96, 3) and mask.dtype == np.uint8 and set(np.unique(mask)) <= set(range(9))
    assert 0.02 < (mask > 0).mean() < 0.8
    again, other = scenes.small_scene(3, 96, 4), scenes.small_scene(4, 96, 4)
    assert again[0].tobytes() == picture.tobytes() != other[0].tobytes()


@pytest.mark.parametrize("name", SCORES)
def test_a_model_is_small_static_and_names_its_classes_and_no_machine(name):
    path = assets.model(name)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert path.stat().st_size < 600_000 and model.opset_import[0].version == 17
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)]
    side = make_nets.SIDE[make_nets.NETS[name][0]]
    assert shapes == [[1, 3, side, side], list(SCORES[name])]
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert all(kind in told["names"] for kind in scenes.CLASSES) and b"/tmp/" not in path.read_bytes()


def test_the_classifier_has_relu6_and_depthwise_layers_and_no_batch_norm():
    model = onnx.load(assets.model("shapes_classifier"))
    kinds = [n.op_type for n in model.graph.node]
    groups = [a.i for n in model.graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "group"]
    assert kinds.count("Clip") == 14 and sum(g > 1 for g in groups) == 6 and "BatchNormalization" not in kinds


@pytest.mark.parametrize(
    "name, least", [("shapes_classifier", 0.93), ("shapes_attention", 0.82), ("shapes_segmenter", 0.5)]
)
def test_a_model_is_right_on_most_of_what_is_committed(name, least):
    task = make_nets.NETS[name][0]
    pictures, wanted = make_nets.committed(task, "validation")
    session, every = targets.load(assets.model(name), optimize=True), 4 if task == "classification" else 2
    inputs = (pictures[::every].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    said = np.concatenate([session.run(None, {"image": x[None]})[0] for x in inputs]).argmax(1)
    assert make_nets.share_right(said, wanted[::every]) > least
