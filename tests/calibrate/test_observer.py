"""observe against NumPy: every activation, every feed, no more memory than it says."""

import multiprocessing
import tracemalloc
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from helpers.calibrate import (
    Histogram,
    activations,
    minmax,
    observe,
)

TEXT = """<ir_version: 8, opset_import: ["": 17]>
small (float[2,3] x, float[2,3] y, int64[1] i) => (float[2,3] out, float[1,3] row) <float[3] w = {1, -2, 0.5}> {
  four = Constant <value = float {4}> ()
  root = Sqrt (four)
  prod = Mul (x, w)
  size = Shape (prod)
  gate = Sigmoid (prod)
  mixed = Add (gate, y)
  out = Mul (mixed, root)
  row = Gather (out, i)
}"""


def save(text, path):
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save(TEXT, tmp_path_factory.mktemp("observe") / "small.onnx")


def feeds(n=20):
    rng = np.random.default_rng(7)
    return [
        {"x": rng.standard_normal((2, 3), np.float32), "y": rng.random((2, 3), np.float32), "i": np.int64([k % 2])}
        for k in range(n)
    ]


def by_hand(feed):
    prod = feed["x"] * np.float32([1, -2, 0.5])
    gate = 1 / (1 + np.exp(-prod))
    out = (gate + feed["y"]) * 2
    return feed | {"prod": prod, "gate": gate, "mixed": gate + feed["y"], "out": out, "row": out[feed["i"]]}


def same(a, b):
    return a == b and all(a[name].feeds == b[name].feeds for name in a)


def test_observe_sees_every_activation_and_nothing_else(small):
    given = feeds()
    seen = observe(small, given)
    assert list(seen) == ["x", "y", "prod", "gate", "mixed", "out", "row"], "no weights, constants, integers"
    for name, h in seen.items():
        truth = [by_hand(f)[name] for f in given]
        assert h.n == sum(t.size for t in truth) and [f for f, _, _ in h.feeds] == list(range(len(given)))
        np.testing.assert_allclose(h.feeds, [(k, t.min(), t.max()) for k, t in enumerate(truth)], rtol=1e-5)
        if name in ("x", "y", "prod"):  # sigmoid's last bit is ONNX Runtime's own
            assert h == Histogram().update(np.stack(truth))
    assert list(observe(str(small), (f for f in given), ["gate", "y"])) == ["y", "gate"]
    assert observe(small, given, ["y"])["y"] == seen["y"]


def test_shards_give_what_one_process_gives(small):
    whole = observe(small, feeds())
    with ThreadPoolExecutor(3) as threads:
        assert same(observe(small, iter(feeds()), executor=threads), whole)
        assert list(observe(small, feeds(), ["out"], threads)) == ["out"]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert same(observe(small, feeds(), executor=processes), whole)


def test_two_runs_merge_into_one(small):
    a, b, whole = (observe(small, f) for f in (feeds()[:7], feeds()[7:], feeds()))
    assert {name: a[name] + b[name] for name in a} == whole


def test_feeds_stream_and_memory_is_let_go(tmp_path):
    path, alive, most = save(LARGE, tmp_path / "large.onnx"), weakref.WeakValueDictionary(), []

    def stream(count):
        for k in range(count):
            most.append(len(alive))
            alive[k] = x = np.random.default_rng(k).standard_normal((1, 4, 40, 50), np.float32)
            yield {"x": x}
            del x

    def peak(count):
        tracemalloc.start()
        try:
            assert len(observe(path, stream(count))["y"].feeds) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    observe(path, stream(2))
    assert peak(96) < 1.2 * peak(16), "samples are counted and let go"
    assert max(most) <= 5, "feeds in flight, bound to a session or just read; no others"


@pytest.mark.parametrize("held, runs", [(1, 1), (1 << 30, 2)])
def test_feeds_go_one_at_a_time_where_two_would_not_fit(small, monkeypatch, held, runs):
    whole = observe(small, feeds())
    monkeypatch.setattr(activations, "HELD", held)
    assert activations.Activations(small, None, None).runs == runs
    assert same(observe(small, feeds()), whole)


def test_interrupt_keeps_whole_feeds(small):
    def stop_after(n):
        yield from feeds()[:n]
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted: these histograms hold 11 feeds only"):
        seen = observe(small, stop_after(11))
    assert same(seen, observe(small, feeds()[:11]))
    for count, partial in ((0, True), (0, False), (11, False)):
        with pytest.raises(KeyboardInterrupt):
            observe(small, stop_after(count), partial=partial)


LARGE = """<ir_version: 8, opset_import: ["": 17]>
large (float[1,4,40,50] x) => (float[1,4,40,50] y) <float four = {4}> { z = Mul (x, four) y = Relu (z) }"""


def large_feeds(n):
    rng = np.random.default_rng(3)
    return [{"x": rng.standard_normal((1, 4, 40, 50), np.float32)} for _ in range(n)]


def test_a_sample_weighs_what_it_stands_for_and_never_misses_an_extreme(tmp_path):
    path, given = save(LARGE, tmp_path / "large.onnx"), large_feeds(11)
    seen = observe(path, given, sample=1000)
    flat = [np.maximum(f["x"] * 4, 0).ravel() for f in given]
    # 8,000 values, at most 1,000 of them: step 9, the least odd number that does
    truth = sum((Histogram().counting(v[4::9], {k: (v.min(), v.max())}, 9) for k, v in enumerate(flat)), Histogram())
    assert seen["y"] == truth and seen["y"].feeds == truth.feeds
    assert seen["y"].n == 11 * (9 * len(flat[0][4::9]) + 2)
    assert minmax(seen["y"]) == (0, max(v.max() for v in flat))
    assert observe(path, given, sample=None)["y"] == Histogram().update(np.concatenate(flat))
    assert observe(path, given)["y"] == observe(path, given, sample=None)["y"], "8,000 values are few enough"

    backwards = [observe(path, part, sample=1000)["y"] for part in (given[7:], given[2:7][::-1], given[:2])]
    assert sum(backwards, Histogram()) == truth
    with ThreadPoolExecutor(2) as threads:
        assert same(observe(path, given, executor=threads, sample=1000), seen)
    with pytest.raises(ValueError, match="sample is a number of values"):
        observe(path, given, sample=0)


def test_half_precision_models_and_tensors_without_a_shape(tmp_path):
    half = save(LARGE.replace("float[", "float16[").replace("Mul (x, four)", "Add (x, x)"), tmp_path / "half.onnx")
    given = [{"x": f["x"].astype(np.float16)} for f in large_feeds(2)]
    seen = observe(half, given, sample=None)
    assert seen["y"] == Histogram().update(np.stack([np.maximum(f["x"] + f["x"], 0) for f in given]))
    assert seen["x"].n == 2 * 8000

    shapeless = onnx.parser.parse_model(
        LARGE.replace("y = Relu (z)", "flag = Greater (z, four) at = NonZero (flag) y = GatherND (z, seat)")
        .replace("at = NonZero (flag)", "at = NonZero (flag) seat = Transpose <perm = [1, 0]> (at)")
        .replace("(float[1,4,40,50] y)", "(float[n] y)")
    )
    shapeless.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(shapeless, tmp_path / "shapeless.onnx")
    given = large_feeds(3)
    for sample in (None, 100):
        seen = observe(tmp_path / "shapeless.onnx", given, sample=sample)["y"]
        picked = [(f["x"] * 4)[f["x"] * 4 > 4] for f in given]
        assert minmax(seen) == (min(p.min() for p in picked), max(p.max() for p in picked))
        assert seen.n == pytest.approx(sum(p.size for p in picked), rel=0.02)


class Pictures(list):
    paths = (b"an open picture", "data/dog.jpg")


def test_a_bad_value_names_its_tensor_and_its_picture(tmp_path):
    path = save(LARGE, tmp_path / "large.onnx")
    given = Pictures(large_feeds(3))
    given[1]["x"][0, 1, 1, 0] = np.inf  # no sampled place: all values are looked at
    with pytest.raises(ValueError, match=r"tensor 'x' holds NaN or inf in feed 1 \(dog\.jpg\)"):
        observe(path, given, sample=10)
    given[1]["x"][0, 1, 1, 0] = 1
    given[0]["x"][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or inf in feed 0: a range"):
        observe(path, given)
    given[0]["x"][0, 0, 0, 0] = 1
    given[1]["x"][0, 1, 1, 0] = 3e38
    with pytest.raises(ValueError, match=r"tensor 'z' holds NaN or inf in feed 1 \(dog\.jpg\)"):
        observe(path, given, sample=10)


def changed(**new):
    return [*feeds(2), feeds(1)[0] | new]


@pytest.mark.parametrize(
    "bad, message",
    [
        ([], "there are no feeds"),
        (iter([]), "there are no feeds"),
        (changed(z=0), r"feed 2: .*expects .*\['i', 'x', 'y'\], got \['i', 'x', 'y', 'z'\]"),
        ([{"x": feeds(1)[0]["x"]}], r"feed 0: .*got \['x'\]"),
        (feeds(1)[0], "feed 0: .*got str"),
        (
            changed(x=np.zeros((2, 4), np.float32)),
            r"feed 2: input 'x' expects .* \[2, 3\], got float32 of .*\[2, 4\]",
        ),
        (changed(y=np.zeros((2, 3))), "feed 2: input 'y' expects float32 .*got float64"),
        (changed(i=np.int32([0])), "input 'i' expects int64 .*got int32"),
        (changed(y=np.full((2, 3), np.nan, np.float32)), "tensor 'y' holds NaN or inf in feed 2"),
        (changed(x=np.full((2, 3), 3e38, np.float32)), "tensor 'prod' holds NaN or inf in feed 2"),
    ],
)
def test_bad_feeds_are_named(small, bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        observe(small, bad)
    assert "\n" not in str(caught.value)


def test_a_worker_s_complaint_counts_feeds_from_the_start(small):
    bad = feeds(12)
    bad[10]["y"] = np.full((2, 3), np.inf, np.float32)
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="tensor 'y' holds NaN or inf in feed 10"):
        observe(small, bad, executor=threads)


def test_bad_models_and_tensor_names_are_named(small, tmp_path):
    for name in ("gates", "w", "size"):  # unknown, a weight, an integer tensor
        with pytest.raises(ValueError, match=f"small.onnx: has no float activation '{name}'"):
            observe(small, feeds(), [name])
    with pytest.raises(ValueError, match=r"nearest names are.*'gate'"):
        observe(small, feeds(), ["gates"])
    dynamic = save(TEXT.replace("float[2,3] x", "float[N,3] x"), tmp_path / "dynamic.onnx")
    with pytest.raises(ValueError, match=r"dynamic\.onnx: input 'x' has a dynamic shape \(N×3\)"):
        observe(dynamic, feeds())
    unnamed = onnx.load(small)
    unnamed.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    onnx.save(unnamed, dynamic)
    with pytest.raises(ValueError, match=r"dynamic shape \(\?×3\)"):
        observe(dynamic, feeds())
    (tmp_path / "broken.onnx").write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match=r"broken\.onnx: not an ONNX model"):
        observe(tmp_path / "broken.onnx", feeds())
    with pytest.raises(FileNotFoundError, match=r"missing\.onnx"):
        observe(tmp_path / "missing.onnx", feeds())
