"""Histograms against exact rational arithmetic, range methods against slow transcriptions, observe against NumPy."""

import math
import multiprocessing
import pickle
import random
import tracemalloc
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.affine import choose_qparams
from helpers.calibrate import (
    Histogram,
    entropy,
    expected_error,
    minmax,
    moving_average,
    mse,
    observe,
    observer,
    percentile,
)
from helpers.error import split_error

METHODS = (minmax, moving_average, percentile, mse, entropy)
DTYPES = ("uint8", "int8", "uint16", "int16", "uint4", "int4")
values = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40)


def histogram(x, bins=2048):
    return Histogram(bins).update(np.asarray(x, np.float32))


def grid_by_definition(x, bins):
    """(k, {index: count}) from the docstring's definition, in exact arithmetic."""
    exact = [Fraction(v) for v in x]
    for k in range(-126, 200):
        index = [math.floor(v / Fraction(2) ** k) for v in exact]
        if len(set(index)) <= bins and max(abs(v) for v in exact) < Fraction(2) ** (k + 30):
            return k, {i: index.count(i) for i in index}


@given(values, st.sampled_from([2, 3, 16, 2048]), st.randoms(use_true_random=False))
@example([-1.401298464324817e-45, 8192.0], 2, random.Random(0))  # −2^-149/w would round to −0 in float32
def test_histogram_is_a_function_of_the_values_alone(x, bins, rnd):
    k, counts = grid_by_definition(x, bins)
    whole = histogram(x, bins)
    edges = sorted({*counts, *(i + 1 for i in counts)})  # a run of empty bins is one
    np.testing.assert_array_equal(whole.edges, [math.ldexp(i, k) for i in edges])
    np.testing.assert_array_equal(whole.counts, [counts.get(i, 0) for i in edges[:-1]])
    assert (whole.n, whole.min, whole.max) == (len(x), min(x), max(x))

    rnd.shuffle(x)
    streamed, parts = Histogram(bins), [Histogram(bins)]
    while x:
        take = rnd.randint(1, len(x))
        batch, x = np.float32(x[:take]), x[take:]
        streamed.update(batch)
        parts.append(histogram(batch, bins))
    while len(parts) > 1:  # any tree of additions
        rnd.shuffle(parts)
        parts.append(parts.pop() + parts.pop())
    assert streamed == whole and parts[0] == whole


@given(values, values, values)
def test_addition_commutes_and_associates_with_its_log(x, y, z):
    a, b, c = (Histogram(16).update(np.float32(v), feed=i) for i, v in zip((1, 0, 1), (x, y, z), strict=True))
    assert a + b == b + a and (a + b).feeds == (b + a).feeds
    assert (a + b) + c == a + (b + c) and ((a + b) + c).feeds == (a + (b + c)).feeds
    assert np.count_nonzero(a.counts) <= 16 and a == histogram(x, 16), "adding leaves its operands alone"


@pytest.mark.parametrize("shift", [0, 5, -300])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_counts_agree_with_numpy_on_the_same_edges(dtype, shift):
    x = (np.random.default_rng(0).standard_normal((3, 300, 301)) * 100 + shift).astype(dtype).transpose(2, 0, 1)
    h = Histogram().update(x)
    np.testing.assert_array_equal(h.counts, np.histogram(x, h.edges)[0])
    assert h.counts.sum() == h.n == x.size and h.counts.dtype == np.int64
    assert (h.min, h.max) == (x.min(), x.max()) and h.counts[0] and h.counts[-1]
    if shift != -300 and dtype != np.int32:  # integers have fewer values than bins
        assert 1024 <= np.count_nonzero(h.counts) <= 2048


@pytest.mark.parametrize("value", [0.0, -0.0, 5.0, -3e38, 1e-45])
def test_constant_tensor_has_one_bin_and_a_range(value):
    h = histogram([value] * 7)
    assert h.counts.tolist() == [7] and h.edges[0] <= np.float32(value) < h.edges[1]
    assert minmax(h) == (np.float32(value),) * 2
    for method in METHODS:
        low, high = method(h)
        assert math.isfinite(low) and low <= high and choose_qparams(low, high).scale > 0
    assert "-0" not in repr(histogram([-0.0]))


def test_non_finite_values_are_refused_and_change_nothing():
    h = histogram([1, 2])
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="tensor 'conv1' holds NaN or inf in feed 3"):
            h.update(np.float32([9, bad]), "conv1", 3)
    assert h == histogram([1, 2]) and len(h.feeds) == 1


def test_histogram_knows_its_feeds_and_survives_a_pickle():
    h = Histogram().update([1.0, -2.0], feed=4).update([7.0], feed=2).update([3.0], feed=9)
    assert h.feeds == [(2, 7, 7), (4, -2, 1), (9, 3, 3)] and h.max_feed == 2
    assert (h + Histogram().update([0.0, 9], feed=4)).feeds == [(2, 7, 7), (4, -2, 9), (9, 3, 3)]
    again = pickle.loads(pickle.dumps(h))
    assert again == h and again.feeds == h.feeds and again != histogram([1, -2, 7, 3.5])
    assert "n=4, min=-2, max=7" in repr(h)


def test_one_far_value_costs_one_bin_and_says_what_it_would_have_cost():
    x = samples("conv")
    alone, beside = histogram(x), histogram(np.append(x, 10_000))
    assert beside.resolution == (alone.resolution[0], 5) and alone.resolution[1] > 500
    for ours, theirs in zip(percentile(beside, 99.9), percentile(alone, 99.9), strict=True):
        assert ours == pytest.approx(theirs, rel=0.01)
    assert Histogram().resolution == (0, 0)


def test_histogram_survives_its_file_and_a_cut_file_is_named(tmp_path):
    path, h = tmp_path / "conv.npz", histogram(samples("stuck")).update([-4.0], feed=3)
    assert Histogram.load(h.save(path)) == h and Histogram.load(path).feeds == h.feeds
    assert Histogram.load(Histogram(16).save(tmp_path / "empty.npz")) == Histogram(16)
    whole = path.read_bytes()
    for cut in (b"", b"hello", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(cut)
        with pytest.raises(ValueError, match=r"conv\.npz: not a whole histogram") as caught:
            Histogram.load(path)
        assert "\n" not in str(caught.value)
    np.savez(path, counts=[1, 2])
    with pytest.raises(ValueError, match="not a whole histogram"):
        Histogram.load(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        Histogram.load(tmp_path / "gone.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = histogram([1, 2]).save(tmp_path / "h.npz")

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        histogram([5]).save(path)
    assert Histogram.load(path) == histogram([1, 2]) and [f.name for f in tmp_path.iterdir()] == ["h.npz"]


def test_histograms_that_cannot_be_used_say_so():
    with pytest.raises(ValueError, match="16 and 2048 bins do not add"):
        Histogram(16) + Histogram()
    with pytest.raises(ValueError, match="at least 2 bins"):
        Histogram(1)
    empty = Histogram().update(np.zeros((0, 3)))
    assert empty + empty == Histogram() and empty + histogram([1]) == histogram([1])
    for method in METHODS:
        with pytest.raises(ValueError, match="histogram is empty"):
            method(empty)


def test_moving_average_follows_feed_order_not_update_order():
    h = Histogram().update([0.0, 20], feed=1).update([-10.0, 10], feed=0).update([-20.0, 40], feed=2)
    assert moving_average(h, 0.5) == (-12.5, 27.5)
    assert moving_average(h, 0) == (-20, 40)
    assert moving_average(h, 0.75) == pytest.approx((-10 * 0.5625 - 5, 10 * 0.5625 + 20 * 0.1875 + 10))
    assert moving_average(h) == pytest.approx((-10 * 0.81 - 2, 10 * 0.81 + 20 * 0.09 + 4))


@given(values, st.floats(0.001, 100), st.floats(0.001, 100))
def test_percentile_is_monotone_and_inside_minmax(x, p, q):
    h = histogram(x)
    (low, high), (inner_low, inner_high) = percentile(h, max(p, q)), percentile(h, min(p, q))
    slack = 1e-9 * (h.max - h.min)
    assert h.min <= low <= inner_low + slack and inner_high - slack <= high <= h.max
    assert percentile(h, 100) == minmax(h)


def test_percentile_lies_between_the_values_that_numpy_interpolates():
    x = np.sort(np.random.default_rng(1).standard_normal(200_000).astype(np.float32))
    h = histogram(x)
    width = h.edges[1] - h.edges[0]
    for p in (50, 99, 99.9):
        for found, q in zip(percentile(h, p), ((100 - p) / 200, (100 + p) / 200), strict=True):
            at = round(q * x.size)
            assert x[at - 1] - 2 * width <= found <= x[at] + 2 * width
            assert found == pytest.approx(np.quantile(x, q), abs=0.02)
    for p in (0, -1, 100.1, math.nan):
        with pytest.raises(ValueError, match="above 0 and up to 100"):
            percentile(h, p)


def samples(kind, n=40_000, seed=0):
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32) * 3
    return {"conv": x, "relu": np.maximum(x, 0), "silu": x / (1 + np.exp(-x)), "stuck": np.append(x, 1000)}[kind]


@pytest.mark.parametrize("dtype", ["uint8", "int4", "uint16"])
@pytest.mark.parametrize("kind", ["conv", "relu", "silu"])
def test_expected_error_is_the_error_of_the_values(kind, dtype):
    x = samples(kind)
    h = histogram(x)
    for part in (1, 0.8, 0.3):
        qp = choose_qparams(h.min * part, h.max * part, dtype)
        clipping, rounding = split_error(x, qp)
        width = h.edges[1] - h.edges[0]
        # relu's exact zeros are without error, but their bin counts as spread over its width
        assert expected_error(h, qp)[0] == pytest.approx(clipping, rel=0.03, abs=width**2 / 1e3)
        assert expected_error(h, qp)[1] == pytest.approx(rounding, rel=0.03, abs=width**2 / 5)


def test_expected_error_knows_where_the_values_end():
    h = histogram(np.append(np.linspace(0, 6, 1000), np.full(1000, 6.0)))  # 6 opens its bin, which reaches to 6 + w
    clipping, _ = expected_error(h, choose_qparams(0, 6))
    assert clipping < 1e-9


@settings(deadline=None, max_examples=60)
@given(values, st.sampled_from(DTYPES))
def test_mse_and_entropy_stay_inside_minmax_and_mse_is_never_worse(x, dtype):
    h = histogram(x)
    low, high = min(h.min, 0), max(h.max, 0)
    for method in (mse, entropy):
        a, b = method(h, dtype)
        assert low <= a <= b <= high and math.isfinite(a - b)
    if max(abs(h.min), abs(h.max)) > 1e-30:  # below, float32 scales run out of bits
        whole, best = (sum(expected_error(h, choose_qparams(*r, dtype))) for r in ((low, high), mse(h, dtype)))
        assert best <= whole


@pytest.mark.parametrize("dtype", ["uint8", "int4"])
@pytest.mark.parametrize("kind", ["conv", "relu", "silu", "stuck"])
def test_mse_finds_what_a_dense_search_finds(kind, dtype):
    h = histogram(samples(kind, 4000), 256)
    parts = 2.0 ** -np.arange(0, 9, 0.1)
    lows, highs = np.meshgrid(min(h.min, 0) * (parts if h.min < 0 else parts[:1]), h.max * parts)
    errors = sum(expected_error(h, choose_qparams(lows.ravel(), highs.ravel(), dtype, axis=0)))
    found = sum(expected_error(h, choose_qparams(*mse(h, dtype), dtype)))
    assert found <= errors.min() * 1.02
    assert found < errors[0] * (0.9 if dtype == "int4" and kind != "stuck" else 1.0001)


def test_a_stuck_neuron_ruins_minmax_and_mse_heeds_it_as_far_as_it_is_one_in_n():
    n = 3_000_000
    h = histogram(np.append(samples("conv", n), 1000))
    steps = {m.__name__: choose_qparams(*m(h)).scale for m in (minmax, percentile)}
    assert steps["minmax"] > 3.9 and steps["percentile"] < 0.2
    # The least of (1000 − T)²/n + T²/(12·255²), the one value's clipping against everyone's rounding.
    assert mse(h)[1] == pytest.approx(1000 * 12 * 255**2 / (n + 12 * 255**2), rel=0.03)
    assert mse(h, "uint4")[1] < 10


# observe

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
    monkeypatch.setattr(observer, "_HELD", held)
    assert observer._Watch(small, None, None).runs == runs
    assert same(observe(small, feeds()), whole)


def test_adding_many_feeds_copies_each_a_few_times(monkeypatch):
    count, rows = 2048, []
    real = histogram._by_feed
    monkeypatch.setattr(histogram, "_by_feed", lambda r: rows.append(len(r)) or real(r))
    singles = [Histogram().update([float(k), 1.0], feed=k) for k in range(count)]
    rows.clear()
    whole = sum(singles, Histogram())
    assert sum(rows) <= count * (1 + math.log2(count)), "not count² / 2, as when all are copied at each addition"
    assert whole.feeds == [(k, min(k, 1.0), max(k, 1.0)) for k in range(count)]
    assert (whole.min, whole.max) == (0, count - 1)


def test_a_feed_costs_a_few_bytes():
    def size(count):
        return len(pickle.dumps(sum((Histogram(16).update([1.0], feed=k) for k in range(count)), Histogram(16))))

    assert size(4000) - size(500) <= 3500 * 24 + 1000


def test_one_feed_in_many_pieces_stays_one():
    h = Histogram(16)
    for k in range(300):
        h.update([float(k % 7)], feed=3)
    assert h.feeds == [(3, 0, 6)] and sum(map(len, h._extremes)) < 20


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
