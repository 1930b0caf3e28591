"""Ranges that know what follows."""

from itertools import pairwise

import pytest
from small_models import convs, random

from helpers import assets, calibrate, qdq, repair, tasks, vision
from helpers.graph import read_model


def test_ranges_of_data_know_what_follows(cut, tmp_path):
    fp32 = cut
    feeds = list(vision.Feeds(assets.images()[:2], fp32))
    histograms = calibrate.observe(fp32, feeds)
    ranges = repair.functional_ranges(fp32, histograms)
    model = read_model(fp32)
    assert set(ranges) == set(histograms)
    assert ranges["images"] == (0, 1)
    for score in [o.name for o in model.graph.output][1::2]:
        assert ranges[score][0] >= -7 and ranges[score][1] >= histograms[score].max
    qdq.quantize_model(fp32, tmp_path / "mse.onnx", calibrate.ranges(histograms, "mse"))
    plain = qdq.quantize_model(fp32, tmp_path / "int8.onnx", ranges)
    for box in [o.name for o in model.graph.output][::2]:
        assert ranges[box][1] == histograms[box].max, "the peak is the answer: never clip it"
    assert 0 < tasks.head_drift(fp32, plain, feeds).total < 0.1
    assert tasks.head_drift(fp32, fp32, feeds).total < 1e-6
    with pytest.raises(ValueError, match="cut the head first"):
        tasks.head_drift(assets.model(), plain, feeds)
    wide = calibrate.ranges(histograms, "minmax")
    front = repair.search_a16(fp32, ranges, wide, feeds[:1], share=0.025, tries=2)
    assert all(len(a["a16"]) < len(b["a16"]) and a["drift"].total > b["drift"].total for a, b in pairwise(front))
    assert 0 < len(front[-1]["a16"]) <= 0.025 * len(ranges)


def test_clipping_counts_more_than_rounding():
    h = calibrate.Histogram().update(random().normal(-3, 4, 20_000))
    narrow, wide = repair.silu_range(h, clipping=1), repair.silu_range(h, clipping=16)
    assert wide[0] < narrow[0] and wide[1] >= narrow[1]
    assert repair.silu_range(h, "uint16") == calibrate.minmax(h)


def test_a_silu_block_is_a_product_with_its_own_sigmoid_behind_a_convolution(tmp_path):
    one = convs(tmp_path, "s = Sigmoid(a) h = Mul(a, s)")
    assert repair.silu_blocks(one) == [("a", "s", "h")]
    assert repair.silu_blocks(convs(tmp_path, "r = Relu(a) s = Sigmoid(r) h = Mul(r, s)")) == [], "not behind a Conv"
    assert repair.silu_blocks(convs(tmp_path, "s = Sigmoid(a) h = Mul(s, s)")) == [], "a square"
    assert repair.silu_blocks(convs(tmp_path, "h = Relu(a)")) == []
