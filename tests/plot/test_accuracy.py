"""Pictures of accuracy: the numbers that go in are those that are drawn and written."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from helpers import plot


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_ap_bars_are_as_long_as_the_ap():
    rows = {"FP32": {"AP50-95": 0.8, "AP50": 0.9}, "CPU": {"AP50-95": 0.75, "AP50": 0.85}}
    (ax,) = plot.ap_bars(rows).axes
    assert widths(ax) == [0.8, 0.75] and [t.get_text() for t in ax.get_yticklabels()] == ["FP32", "CPU"]
    assert words(ax) == ["0.800   (AP50 0.900)", "0.750   (AP50 0.850)"] and "within 0.050 AP" in ax.get_title()


def test_intervals_reach_from_low_to_high_and_the_dot_is_the_value():
    panels = {"AP": {"a": (0.1, 0.05, 0.2), "b": (0.3, 0.2, 0.5)}, "IoU": {"a": (1, 0, 2), "b": (3, 2, 4)}}
    fig = plot.intervals(panels, "two of each")
    assert [ax.get_xlabel() for ax in fig.axes] == ["AP", "IoU"] and fig.get_suptitle() == "two of each"
    lines = fig.axes[0].lines
    assert [list(line.get_xdata()) for line in lines[:4]] == [[0.05, 0.2], [0.1], [0.2, 0.5], [0.3]]
    assert words(fig.axes[0]) == ["0.1000", "0.3000"] and fig.axes[0].get_yticklabels()[1].get_text() == "b"


def test_recipe_steps_stack_their_parts():
    steps = [{"step": "minmax", "score": 0.3, "box": 0.1}, {"step": "mse", "score": 0.1, "box": 0.1}]
    fig = plot.recipe_steps(steps)
    (ax,) = fig.axes
    assert widths(ax) == pytest.approx([0.3, 0.1, 0.1, 0.1])
    assert [bar.get_x() for bar in ax.patches] == [0, 0, 0.3, 0.1]
    assert words(ax) == [" 0.400", " 0.200"] and "leaves 50 % of the drift" in fig.get_suptitle()
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["scores: mean |change|", "boxes: mean 1 − IoU"]
    one = plot.recipe_steps([{"step": "a", "noise": 0.2}], {"noise": "noise"})
    assert widths(one.axes[0]) == [0.2] and [t.get_text() for t in one.legends[0].get_texts()] == ["noise"]


def test_the_front_is_drawn_in_percent_with_its_interval():
    points = [{"a16": 0, "ap_drop": (0.02, 0.01, 0.03)}, {"a16": 4, "ap_drop": (0.01, 0.0, 0.02)}]
    (ax,) = plot.pareto_front(points, 200, {"all 16": (1.0, 0.001)}, "the front").axes
    front, mark = ax.lines[:2]
    assert list(front.get_xdata()) == [0, 2] and list(front.get_ydata()) == [0.02, 0.01]
    assert list(mark.get_xdata()) == [100] and mark.get_label() == "all 16" and ax.get_title() == "the front"
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.0 and band[:, 1].max() == 0.03


def test_stacked_figures_lie_under_each_other_and_nothing_half_written_stays(tmp_path):
    figures = [plot.ap_bars({"a": {"AP50-95": 0.5, "AP50": 0.5}}), plot.intervals({"q": {"a": (0, 0, 1)}}, "t")]
    sizes = []
    for figure in figures:
        plot.save(figure, buffer := io.BytesIO())
        with Image.open(buffer) as image:
            sizes.append(image.size)
    out = plot.stack_figures(figures, tmp_path / "page.png")
    with Image.open(out) as page:
        assert page.size == (max(w for w, _ in sizes), sum(h for _, h in sizes))
    (tmp_path / "kept.png").write_bytes(b"before")
    with pytest.raises(AttributeError):
        plot.stack_figures([None], tmp_path / "kept.png")
    assert {p.name for p in tmp_path.iterdir()} == {"page.png", "kept.png"}
    assert (tmp_path / "kept.png").read_bytes() == b"before"


def test_a_new_figure_has_a_notebooks_width_and_seven_different_colours():
    fig, axes = plot.new_figure(2, 3, height=4)
    assert tuple(fig.get_size_inches()) == (8, 4) and np.shape(axes) == (2, 3)
    colours = [plot.BLUE, plot.ORANGE, plot.GREEN, plot.RED, plot.SKY, plot.PURPLE, plot.GREY]
    assert len({to_hex(c) for c in colours}) == 7
