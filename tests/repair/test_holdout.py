"""The recipe on a toy detector: judged by feeds held back, the best seen is kept, feeds stream, Ctrl-C stops."""

import weakref

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_models import detector

from helpers import calibrate, qdq, repair, tasks
from helpers.qdq import holdout
from helpers.repair import recipe
from helpers.tasks import detection

SIZE, CLASSES = 32, 3


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return detector(tmp_path_factory.mktemp("toy") / "toy.onnx", SIZE, CLASSES)


def pictures(count):
    random = np.random.default_rng(2)
    return [{"images": random.random((1, 3, SIZE, SIZE), np.float32)} for _ in range(count)]


def test_what_calibrates_does_not_judge(toy, tmp_path, monkeypatch):
    given, seen = pictures(24), {"observe": [], "look": [], "round": []}

    def spy(module, name, key):
        real = getattr(module, name)

        def call(fp32, *arguments, **options):
            feeds = arguments[1] if key == "round" else arguments[0]
            seen[key] += [next(i for i, g in enumerate(given) if g is feed) for feed in feeds]
            return real(fp32, *arguments, **options)

        monkeypatch.setattr(module, name, call)

    spy(calibrate, "observe", "observe")
    spy(detection.TASK, "reference_outputs", "look")
    spy(recipe, "round_adaptively", "round")
    made = repair.quantize_best(toy, given, tmp_path / "best.onnx", rounding=4)
    assert made["calibrated_on"] == seen["observe"] and made["judged_on"] == seen["look"]
    assert len(seen["observe"]) == 16 and not set(seen["observe"]) & set(seen["look"])
    assert len(seen["round"]) == 4 and set(seen["round"]) <= set(seen["observe"])
    assert "8 inputs held back from calibration, which had 16" in made["judge"]


def test_few_feeds_judge_and_calibrate_and_the_report_says_so(toy, tmp_path):
    made = repair.quantize_best(toy, pictures(3), tmp_path / "best.onnx")
    assert made["calibrated_on"] == made["judged_on"] == [0, 1, 2]
    assert "judged on 3 inputs that also calibrated" in made["judge"]


def worse_rounding(fp32, made, feeds, out):
    """Every weight one code off: a step that only harms."""
    model = onnx.load(made)
    for t in model.graph.initializer:
        if t.data_type == onnx.TensorProto.INT8:
            codes = np.clip(numpy_helper.to_array(t).astype(int) + 30, -127, 127).astype(np.int8)
            t.CopyFrom(numpy_helper.from_array(codes, t.name))
    onnx.save(model, out)
    return out


@pytest.mark.parametrize("broken", [("round_adaptively",), ("round_adaptively", "_followed")])
def test_the_best_that_was_seen_is_what_is_written(toy, tmp_path, monkeypatch, broken):
    real = recipe._followed

    def too_wide(*arguments):
        made = real(*arguments)
        return [(c, {t: (min(x, 0) * 40, max(y, 0) * 40) for t, (x, y) in ranges.items()}) for c, ranges in made]

    bad = {"round_adaptively": worse_rounding, "_followed": too_wide}
    for name in broken:
        monkeypatch.setattr(recipe, name, bad[name])
    given, out = pictures(12), tmp_path / "best.onnx"
    made = repair.quantize_best(toy, given, out, share=0.0 if len(broken) > 1 else 0.5)
    totals = {s["step"]: s["score"] + s["box"] for s in made["steps"]}
    assert totals[made["kept"]] == min(totals.values()) < totals["weights rounded with inputs in view"]
    judging = [given[i] for i in made["judged_on"]]
    assert tasks.head_drift(toy, out, judging).total == pytest.approx(totals[made["kept"]], abs=1e-9)
    again = qdq.quantize_model(toy, tmp_path / "again.onnx", made["ranges"], a16=made["a16"])
    assert qdq.list_qparams(again) == qdq.list_qparams(out), "ranges and a16 are those of the model that is kept"
    if len(broken) > 1:
        assert made["kept"] in {f"{method.label} ranges" for method in calibrate.METHODS.values()}
    assert [p.name for p in tmp_path.iterdir() if p.name != "again.onnx"] == ["best.onnx"]


def blind(toy, path):
    model = onnx.load(toy)
    for t in model.graph.initializer:
        if t.name.startswith("score") and t.name.endswith("_b"):
            t.CopyFrom(numpy_helper.from_array(np.full(CLASSES, -50, np.float32), t.name))
    onnx.save(model, path)
    return path


def test_a_model_that_sees_nothing_is_refused_before_the_long_work(toy, tmp_path, monkeypatch):
    path = blind(toy, tmp_path / "blind.onnx")
    plain = qdq.quantize_model(
        path, tmp_path / "q.onnx", {t: calibrate.minmax(h) for t, h in calibrate.observe(path, pictures(2)).items()}
    )
    monkeypatch.setattr(calibrate, "observe", lambda *a, **k: pytest.fail("the long work began"))
    with pytest.raises(ValueError, match=r"sees nothing \(no score of 0.1 or more\) in the 3 inputs to judge by"):
        repair.quantize_best(path, pictures(9), tmp_path / "best.onnx")
    with pytest.raises(ValueError, match="sees nothing"):
        tasks.head_drift(path, plain, pictures(2))


class Stream:
    """Feeds made anew at each look, and how many of them are alive at most."""

    def __init__(self, count):
        self.count, self.alive, self.most = count, weakref.WeakValueDictionary(), 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        x = np.random.default_rng(index).random((1, 3, SIZE, SIZE), np.float32)
        self.alive[id(x)] = x
        self.most = max(self.most, len(self.alive))
        return {"images": x}

    def __iter__(self):
        return (self[i] for i in range(self.count))


def test_feeds_are_never_all_held(toy, tmp_path):
    stream = Stream(30)
    repair.quantize_best(toy, stream, tmp_path / "best.onnx", share=0.2)
    assert 0 < stream.most <= 5


def test_feeds_that_cannot_be_read_again_are_refused(toy, tmp_path):
    for bad, message in (
        (iter(pictures(9)), "a generator is not: give a list"),
        (pictures(1)[0], "give a list of them"),
        ([], "there are no feeds"),
    ):
        with pytest.raises(ValueError, match=message):
            repair.quantize_best(toy, bad, tmp_path / "best.onnx")
    assert not list(tmp_path.iterdir())


def test_every_feed_has_one_part_and_the_most_are_kept_to():
    for count in range(1, 70):
        for most in (1, 5, 20):
            calibrating, judging = (p.indices for p in holdout.hold_back([None] * count, most))
            assert len(judging) == len(set(judging)) and 0 < len(judging) <= most
            if count >= 8:
                assert sorted(calibrating + judging) == list(range(count))
            else:
                assert calibrating == list(range(count)) and set(judging) <= set(calibrating)


def test_a_part_of_feeds_without_an_index_is_the_same():
    class Only:
        def __len__(self):
            return 5

        def __iter__(self):
            return iter("abcde")

    assert list(holdout.Part(Only(), [1, 3])) == list(holdout.Part("abcde", [1, 3])) == ["b", "d"]


def test_ctrl_c_in_the_recipe_leaves_nothing(toy, tmp_path):
    class Stopped(Stream):
        def __getitem__(self, index):
            if index == 11:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    assert 11 not in holdout.hold_back([None] * 24, 20)[1].indices, "so that it is observe that is stopped"
    with pytest.raises(KeyboardInterrupt):
        repair.quantize_best(toy, Stopped(24), tmp_path / "made" / "best.onnx")
    assert not list((tmp_path / "made").iterdir())
