"""Sessions run whole where they were asked to, or fail and say why."""

import numpy as np
import onnx.parser
import pytest
from conftest import needs_htp

from helpers import assets, session, vision


def test_cpu_runs_every_node_of_the_graph(cut):
    placed = session.placement(session.load(cut, "cpu"))
    assert set(placed) == {n.name for n in onnx.load(cut).graph.node}
    assert set(placed.values()) == {"CPUExecutionProvider"}


def test_cpu_computes_the_graph_as_written_unless_asked_to_fuse_it(int8):
    feed = next(iter(vision.Feeds(assets.images()[:1], int8)))
    written, again, fused = (session.load(int8, optimize=o).run(None, feed) for o in (False, False, True))
    assert all(np.array_equal(a, b) for a, b in zip(written, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(written, fused, strict=True))


@needs_htp
def test_htp_takes_every_node_and_stays_within_a_few_steps_of_the_cpu(int8):
    htp, cpu = session.load(int8, "htp"), session.load(int8, "cpu")
    assert set(session.placement(htp).values()) == {session.QNN}
    feed = next(iter(vision.Feeds(assets.images()[:1], int8)))
    for h, c in zip(htp.run(None, feed), cpu.run(None, feed), strict=True):
        assert not np.array_equal(h, c), "equal to the last bit: this ran on the CPU"
        assert np.abs(h - c).mean() < 0.05 * np.ptp(c)


@needs_htp
def test_htp_refuses_a_graph_that_it_cannot_take_whole(tmp_path):
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[4] x) => (double[4] y)
              { t = Relu(x)  y = Cast<to: int = 11>(t) }"""
    model = onnx.parser.parse_model(text)
    model.graph.node[0].name, model.graph.node[1].name = "fine", "odd"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(
        RuntimeError, match=r"odd\.onnx: 1 of its 2 node\(s\) cannot run on the HTP, the first is 'odd'"
    ):
        session.load(tmp_path / "odd.onnx", "htp")


@needs_htp
def test_the_backend_prints_nothing(int8, capfd):
    session.load(int8, "htp")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "target", "options", "message"),
    [
        ("nowhere.onnx", "cpu", {}, "nowhere.onnx: no such file"),
        ("text.onnx", "cpu", {}, "text.onnx: not an ONNX model"),
        ("empty.onnx", "cpu", {}, "empty.onnx: not an ONNX model"),
        (None, "gpu", {}, "target 'gpu' is unknown"),
        (None, "cpu", {"vtcm_mb": "4"}, "target 'cpu' takes no option 'vtcm_mb'"),
        pytest.param(None, "htp", {"vtcm_size": "4"}, "QNN has no option 'vtcm_size'", marks=needs_htp),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, name, target, options, message):
    (tmp_path / "text.onnx").write_text("this is not a model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        session.load(assets.model() if name is None else tmp_path / name, target, **options)
    assert "\n" not in str(caught.value)


def test_macos_says_plainly_that_it_has_no_qnn(monkeypatch):
    monkeypatch.setattr(session.sys, "platform", "darwin")
    session.qnn.cache_clear()
    try:
        assert list(session.targets()) == ["cpu"]
        with pytest.raises(RuntimeError, match="no onnxruntime-qnn for macOS"):
            session.load(assets.model(), "htp")
    finally:
        session.qnn.cache_clear()
