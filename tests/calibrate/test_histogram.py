"""Histograms against exact rational arithmetic."""

import math
import pickle
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import histogram, samples, values

from helpers.calibrate import (
    METHODS,
    Histogram,
    percentile,
)
from helpers.calibrate import histogram as module


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
    for method in METHODS.values():
        with pytest.raises(ValueError, match="histogram is empty"):
            method(empty)


def test_adding_many_feeds_copies_each_a_few_times(monkeypatch):
    count, rows = 2048, []
    real = module._by_feed
    monkeypatch.setattr(module, "_by_feed", lambda r: rows.append(len(r)) or real(r))
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
