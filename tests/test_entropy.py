"""entropy against the published search, written out slowly, on ten real layers each of three networks."""

import numpy as np
import pytest
from published import LAYERS, agreement, decibels, published

from helpers.calibrate import Histogram, _divergence, entropy, minmax


def stored():
    """{layer: (Histogram of all its values, counts of |x| in 2048 uniform bins)}."""
    with np.load(LAYERS) as file:
        layers = {}
        for name in sorted({key.split("|")[0] for key in file.files}):
            gaps, own, x, (k, low, high) = (file[f"{name}|{part}"] for part in ("gaps", "own", "x", "grid"))
            h = Histogram()._adding(
                int(k), np.cumsum(gaps, dtype=np.int64), own.astype(np.int64), (np.array([[0, low, high]]),)
            )
            layers[name] = h, x
    return layers


STORED = stored()


def test_ten_layers_of_each_of_three_networks_are_there():
    networks = [name.split()[0] for name in STORED]
    assert {n: networks.count(n) for n in networks} == {"scenes": 10, "yolov8n": 10, "text": 10}
    assert all(h.n == x.sum() for h, x in STORED.values())


def test_entropy_is_the_published_search_on_real_layers():
    """Where two T have nearly the same KL, bins that were spread evenly may tip it; the SQNR says how much that is."""
    found = {name: agreement(*pair) for name, pair in STORED.items()}
    assert not {name: f for name, f in found.items() if abs(f[1] - f[2]) > 1}
    assert sum(apart <= 2 for apart, *_ in found.values()) >= 20


def test_the_zeros_of_a_relu_do_not_decide():
    for seed in range(3):
        x = np.maximum(np.random.default_rng(seed).standard_t(8, 400_000), 0).astype(np.float32)
        counts = np.histogram(x.astype(np.float64), 2048, (0, float(x.max())))[0]
        _, theirs, ours, _ = agreement(Histogram().update(x), counts)
        assert abs(theirs - ours) < 1


@pytest.mark.parametrize("levels", [8, 128])
@pytest.mark.parametrize("name", [*STORED][::6])
def test_all_divergences_at_once_are_those_found_one_by_one(name, levels):
    bins = STORED[name][1].astype(float)
    _, slow = published(bins, levels)
    bins[0] = bins[1]
    np.testing.assert_allclose(_divergence(bins / bins.sum(), levels), [*slow.values()], rtol=0, atol=1e-11)


def test_what_kl_costs_is_what_chapter_05_says():
    """Where values crowd near zero and a few lie far out on one side, KL clips what squared error would keep."""
    lost = {name: decibels(h, *minmax(h)) - decibels(h, *entropy(h)) for name, (h, _) in STORED.items()}
    ends = {name: sorted((-h.min, h.max)) for name, (h, _) in STORED.items()}
    silu = [lost[name] for name, (near, _) in ends.items() if 0.278 < near < 0.2785]
    both = [lost[name] for name, (near, far) in ends.items() if near > far / 3]
    assert len(silu) == 8 and 6 < np.median(silu) < 6.5 and 13.5 < max(silu) < 14.5
    assert len(both) == 16 and max(np.abs(both)) < 2


def test_a_far_outlier_and_16_bits_give_minmax():
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    far = Histogram().update(np.append(x, 1000))
    assert entropy(far) == minmax(far), "all bins between are empty, and there KL is infinite"
    heavy = Histogram().update(np.random.default_rng(0).standard_t(3, 100_000))
    assert entropy(heavy, "uint16") == entropy(heavy, "int16") == minmax(heavy) != entropy(heavy)
    assert entropy(heavy, "uint8") == entropy(heavy, "int8")


def test_entropy_looks_at_both_sides_alike_and_stays_inside_min_and_max():
    x = np.random.default_rng(1).standard_t(4, 300_000).astype(np.float32)
    low, high = entropy(Histogram().update(x))
    assert low == -high and entropy(Histogram().update(-x)) == (low, high)
    one = Histogram().update(np.abs(x))
    assert entropy(one)[0] == one.min and entropy(one)[1] == pytest.approx(high, rel=0.1)
    few = Histogram().update(np.float32([3, 4, 5]))
    assert entropy(few) == (3, 5)
