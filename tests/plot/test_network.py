"""Pictures of a graph: its scales, its places, its depth, its roof."""

import numpy as np
import pytest

from helpers import plot, qdq
from helpers.graph import cost


def words(ax):
    return [t.get_text() for t in ax.texts]


def test_the_block_stands_on_the_scales_of_the_graph(int8):
    params = qdq.list_qparams(int8)
    (ax,) = plot.block(int8, "/model.0/conv/Conv").axes
    for tensor in (
        "images",
        "/model.0/conv/Conv_output_0",
        "/model.0/act/Sigmoid_output_0",
        "/model.0/act/Mul_output_0",
    ):
        assert f"S = {params[tensor].scale:.3g}\nZ = {params[tensor].zero_point}" in words(ax)
    assert "w int8\nb int32" in words(ax) and words(ax).count("uint8") == 3


def test_placement_puts_each_node_where_it_ran():
    placed = {"htp": {"a": "QNNExecutionProvider", "b": "CPUExecutionProvider", "c": "QNNExecutionProvider"}}
    (ax,) = plot.placement(placed).axes
    at = {c[0].get_facecolor(): [round(b.get_x() + 0.5) for b in c] for c in ax.containers}
    assert list(at.values()) == [[0, 2], [1]] and words(ax) == ["2 on QNN ", "1 on CPU "]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["htp"]


def test_no_layer_is_above_the_roof():
    layers = [
        cost.Layer("a", "Conv", 1000, 50, 40, 10),
        cost.Layer("b", "Conv", 10, 5, 4, 1),
        cost.Layer("c", "Add", 0, 9, 9, 0),
    ]
    modelled, published = {"n": 1.0, "s": 2.0, "m": 3.0}, {"n": 4.0, "s": 5.0, "m": 6.0}
    left, right = plot.roofline(layers, 5e12, 1e12, modelled, published).axes
    x, y = left.lines[1].get_data()
    assert list(x) == [10, 1] and list(y) == [5, 1], "the first under the flat roof, the second under the slope"
    assert left.lines[2].get_xdata()[0] == 5
    assert [bar.get_height() for bar in right.patches] == [1, 2, 3, 4, 5, 6]


def test_sqnr_by_depth_names_the_worst_in_every_row():
    rows = {"all": {"a": 30.0, "b": 10.0, "c": 20.0, "d": np.inf}, "some": {"c": 5.0}}
    fig = plot.sqnr_by_depth(rows, "depth")
    bars = [[round(b.get_x() + b.get_width() / 2) for b in ax.patches] for ax in fig.axes]
    assert bars == [[0, 1, 2, 1], [2, 2]] and [b.get_height() for b in fig.axes[0].patches] == [30, 10, 20, 10]
    assert words(fig.axes[0]) == ["worst: b, 10.0 dB"] and words(fig.axes[1]) == ["worst: c, 5.0 dB"]
    assert fig.axes[0].get_title("left") == "all: median 20.0 dB" and fig.get_suptitle() == "depth"


def test_roundings_are_percent_with_a_mean():
    (ax,) = plot.roundings({"Conv": {"a": 0.01, "b": 0.03}, "Add": {"c": 0.5}}, "alone").axes
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0, 1], [1, 3]])
    np.testing.assert_allclose(ax.collections[1].get_offsets(), [[2, 50]])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["Conv (mean 2 %)", "Add (mean 50 %)"]
    assert ax.get_title() == "alone" and ax.get_ylim()[1] == pytest.approx(300)


def test_noise_by_size_says_what_the_chosen_hold():
    noise, size = {"a.conv.weight": 0.09, "b": 0.01}, {"a.conv.weight": 5, "b": 95}
    (ax,) = plot.noise_by_size(noise, size, ["a.conv.weight"]).axes
    assert ax.get_title() == "5 % of the weights make 90 % of the noise" and words(ax) == ["a"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["1 layers in 4 bits", "1 layers in 8 bits"]
    assert ax.collections[1].get_offsets().tolist() == [[5, 0.09]]
