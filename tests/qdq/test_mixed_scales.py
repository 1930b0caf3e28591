"""Mixed scales: found from histograms alone, mended by what measures best."""

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper

from helpers import assets, calibrate, graph, qdq, tasks
from helpers.qdq.mixed_scales import channel_noise


def test_it_finds_by_itself_where_the_head_is_cut(tmp_path):
    """YOLOv8's last Concat, of boxes in px and scores in 0…1, comes first, and nothing like it before the head."""
    feeds = list(tasks.Feeds(assets.images()[:3], assets.model()))
    histograms = calibrate.observe(assets.model(), feeds[:2])
    first, *others = qdq.mixed_scales(assets.model(), histograms)
    assert (first.op, first.output, first.input) == ("Concat", "output0", "/model.22/Sigmoid_output_0")
    assert first.own_db > 40 and first.shared_db < 3 and first.lost_db >= max([o.lost_db for o in others], default=0)
    made = qdq.split_scales(assets.model(), histograms, feeds[2:], tmp_path / "out.onnx")
    assert made.chosen.startswith("cut") and made.losses[made.chosen] < made.losses["as it is"] / 5
    if made.chosen == "cut at the last layers":
        assert set(graph.Model.of(made.fp32).outputs) == set(qdq.head_convs(assets.model()))
    cut = qdq.split_head(assets.model(), tmp_path / "cut.onnx")
    known = {t: h for t, h in histograms.items() if t in graph.Model.of(cut).producers}
    assert not [place for place in qdq.mixed_scales(cut, known) if place.op == "Concat"]


def net(early: bool):
    """Conv → (×100 and sigmoid) → Concat; with `early`, another Conv behind it."""
    end = "y = Conv(c, w2)" if early else "y = Relu(c)"
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4,5,5] x) => (float[1,8,5,5] y) <float hundred = {{100.0}}>
        {{ a = Conv(x, w)  b = Mul(a, hundred)  s = Sigmoid(a)  c = Concat<axis=1>(b, s)  {end} }}""")
    rng = np.random.default_rng(0)
    scale = np.where(np.arange(8) < 4, 0.01, 1)[:, None, None]  # the second Conv makes both kinds alike
    for name, shape, size in (("w", (4, 4, 1, 1), 1), ("w2", (8, 8, 1, 1), scale)):
        value = (rng.normal(size=shape) * size).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    for k, node in enumerate(model.graph.node):
        node.name = f"n{k}"
    return graph.Model(onnx.shape_inference.infer_shapes(model))


def feeds_of(count):
    return [{"x": np.random.default_rng(k).normal(size=(1, 4, 5, 5)).astype(np.float32)} for k in range(count)]


def test_a_late_mix_is_cut_and_an_early_one_gets_16_bits(tmp_path):
    for early in (False, True):
        histograms, out = calibrate.observe(net(early), feeds_of(4)), tmp_path / f"{early}.onnx"
        assert [place.input for place in qdq.mixed_scales(net(early), histograms)] == ["s"]
        made = qdq.split_scales(net(early), histograms, feeds_of(6)[4:], out)
        assert made.losses[made.chosen] < 0.6 * made.losses["as it is"] and made.fp32 == out
        assert made.a16 == (["c"] if early else []) and made.chosen == (
            "as it is, 16 bits for c" if early else "cut before"
        )
        whole = graph.rest_of(graph.Model.of(out))
        assert (whole is None) == early and (early or [n.op_type for n in whole.nodes] == ["Concat", "Relu"])


def test_a_loss_of_ones_own_decides(tmp_path):
    histograms = calibrate.observe(net(False), feeds_of(2))
    made = qdq.split_scales(net(False), histograms, feeds_of(1), tmp_path / "out.onnx", loss=lambda fp32, int8: 1.0)
    assert made.chosen == "as it is" and set(made.losses.values()) == {1.0} and len(made.losses) == 4


def test_what_cannot_be_split_is_said(tmp_path):
    histograms = calibrate.observe(net(False), feeds_of(1))
    with pytest.raises(ValueError, match="no inputs to measure with"):
        qdq.split_scales(net(False), histograms, [], tmp_path / "out.onnx")
    made = qdq.split_scales(net(False), histograms, feeds_of(2), tmp_path / "out.onnx")
    with pytest.raises(ValueError, match="is cut already"):
        qdq.split_scales(made.fp32, histograms, feeds_of(2), tmp_path / "again.onnx")


def test_noise_counts_each_channel_alike():
    a = np.float32([[[100, 100, 100], [1, 1, 1]]])
    assert channel_noise([[a], [a]], [[a], [a]]) == 0
    assert channel_noise([[a]], [[a * 2]]) == 1 == channel_noise([[a]], [[a * 9]])
