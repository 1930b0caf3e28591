"""Pictures of detections: every box that is drawn is one that was found."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from helpers import plot

ONE = np.float64([[10, 20, 50, 60], [60, 10, 90, 40]]), np.array([0.9, 0.6]), np.array([0, 1])
TWO = np.float64([[11, 20, 51, 60], [5, 70, 20, 90]]), np.array([0.8, 0.1]), np.array([0, 2])
NAMES = {0: "cup", 1: "ball", 2: "star"}


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (100, 100), "grey").save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


def boxes(ax):
    return [(*p.get_xy(), p.get_width(), p.get_height()) for p in ax.patches if isinstance(p, Rectangle)]


def words(ax):
    return [t.get_text() for t in ax.texts]


def test_detections_draw_what_is_above_the_threshold(picture):
    fig = plot.detections(picture, {"FP32": ONE, "INT8": TWO}, NAMES)
    left, right = fig.axes
    assert boxes(left) == [(10, 20, 40, 40), (60, 10, 30, 30)] and boxes(right) == [(11, 20, 40, 40)]
    assert words(left) == ["cup 0.90", "ball 0.60"] and words(right) == ["cup 0.80"]
    assert left.get_title() == "FP32: 2 boxes" and fig.get_suptitle() == "INT8 finds 1 of the 2 boxes of FP32"
    assert len(boxes(plot.detections(picture, {"FP32": ONE, "INT8": TWO}, NAMES, conf=0.05).axes[1])) == 2


def test_the_overlay_says_which_box_is_whose(picture):
    two = tuple(np.concatenate([part, [last]]) for part, last in zip(TWO, ([70.0, 70, 95, 95], 0.7, 2), strict=True))
    (ax,) = plot.overlay(picture, ONE, two, NAMES).axes
    styles = [(p.get_linestyle(), to_hex(p.get_edgecolor()).upper()) for p in ax.patches]
    assert styles == [("-", plot.SKY)] * 2 + [("--", plot.ORANGE)] * 2
    assert words(ax) == ["cup 0.90 → 0.80", "ball 0.60, FP32 only", "star 0.70, INT8 only"]
    assert ax.get_title() == "2 boxes of FP32 (solid), 2 of INT8 (dashed): 1 in both"


def test_scores_are_dots_of_before_and_after():
    before, after = np.array([[0.9, 0.01], [0.3, 0.2]]), np.array([[0.8, 0.5], [0.3, 0.1]])
    (ax,) = plot.scores(before, {"minmax": after}, "scores").axes
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.9, 0.8], [0.3, 0.3], [0.2, 0.1]])
    assert ax.get_title() == "scores" and ax.get_legend().get_texts()[0].get_text() == "minmax"


def test_box_shift_marks_both_medians():
    found = {"iou_drift": np.array([0.0, 0.1, 0.3]), "jitter": np.array([-0.2, 0.0, 0.1])}
    axes = plot.box_shift(found).axes
    assert [ax.lines[0].get_xdata()[0] for ax in axes] == [0.1, 0.0]
    assert all(sum(bar.get_height() for bar in ax.patches) == 3 for ax in axes)
    assert axes[0].get_xlabel() == "IoU drift, 1 − IoU" and axes[0].lines[0].get_label() == "median 0.1"


def test_threshold_crossings_count_what_changes_sides():
    score, jitter = np.array([0.5, 0.5, 0.8]), np.array([-0.2, 0.1, 0.0])
    (ax,) = plot.threshold_crossings(score, jitter, usual=0.4).axes
    lost, won = (c.get_paths()[0].vertices for c in ax.collections)
    assert lost[:, 1].max() == 1 and won[:, 1].min() == -1
    inside = lost[lost[:, 1] == 1, 0]
    assert 0.29 < inside.min() < 0.31 and 0.49 < inside.max() < 0.51, "between the old score and the new"
    assert ax.get_title() == "INT8 moves 1 of 3 boxes across a threshold of 0.4"


def test_output_error_is_in_shares_of_the_largest():
    ax, error = plot.output_error(
        {"y": np.float32([1, -4]), "z": np.zeros(3)}, {"y": np.float32([2, -4]), "z": np.zeros(3)}
    ).axes
    assert list(ax.lines[0].get_xdata()) == [0.25, -1] and list(ax.lines[0].get_ydata()) == [0.5, -1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["y", "z"]
    assert list(error.lines[0].get_ydata()) == [25, 0] and list(error.lines[1].get_xdata()) == [2, 3, 4]


def test_side_bins_show_each_logit_s_error_beside_its_share():
    shares, other = np.array([0.25, 0.5, 0.25]), np.array([0.25, 0.25, 0.5])
    fig = plot.side_bins(np.log(shares), np.log(other))
    left, right = fig.axes
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], np.log(other / shares))
    np.testing.assert_allclose([bar.get_height() for bar in right.patches], [*shares, *other])
    assert fig.get_suptitle() == "A logit is off by up to 0.69, the side by 0.25 bins"
