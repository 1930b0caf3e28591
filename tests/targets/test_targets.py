"""Sessions run whole where they were asked to, or fail and say why."""

import numpy as np
import onnx.parser
import pytest
from conftest import needs_htp

from helpers import assets, session, vision
from helpers.targets import context
from helpers.targets import provider as QNN


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
    monkeypatch.setattr(QNN.sys, "platform", "darwin")
    session.qnn.cache_clear()
    try:
        assert list(session.targets()) == ["cpu", "integer"]
        with pytest.raises(RuntimeError, match="no onnxruntime-qnn for macOS"):
            session.load(assets.model(), "htp")
    finally:
        session.qnn.cache_clear()


@needs_htp
@pytest.mark.parametrize("embed", [True, False])
def test_a_context_gives_back_every_bit_and_is_refused_once_a_byte_changed(int8, tmp_path, embed):
    out = session.compile_context(int8, tmp_path / "made" / "net.onnx", embed)
    files = {"net.onnx", "net.json"} | (set() if embed else {"net_qnn.bin"})
    assert {f.name for f in out.parent.iterdir()} == files
    record = context.verify_manifest(out)
    assert (record["soc_model"], record["htp_arch"]) == ("60", "73") and record["source"]["name"] == int8.name

    loaded, fresh = session.load(out, "htp"), session.load(int8, "htp")
    feed = next(iter(vision.Feeds(assets.images()[:1], int8)))
    assert all(np.array_equal(a, b) for a, b in zip(loaded.run(None, feed), fresh.run(None, feed), strict=True))
    assert set(session.placement(loaded).values()) == {session.QNN}
    del loaded

    binary = out if embed else out.with_name("net_qnn.bin")
    damaged = bytearray(binary.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    binary.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"{binary.name}: not the file that was compiled") as caught:
        session.load(out, "htp")
    assert "\n" not in str(caught.value)


@needs_htp
def test_contexts_that_cannot_be_had_are_named_and_leave_nothing(int8, tmp_path):
    out = session.compile_context(int8, tmp_path / "net.onnx")
    (tmp_path / "net.json").write_text("{}")
    with pytest.raises(ValueError, match=r"net\.onnx: a compiled context without its manifest net\.json"):
        session.load(out, "htp")
    with pytest.raises(ValueError, match="compiled for the HTP; load it with target 'htp'"):
        session.load(out, "cpu")
    with pytest.raises(ValueError, match="compiled already"):
        session.compile_context(out, tmp_path / "again.onnx")
    with pytest.raises(ValueError, match=r"net\.bin: a context is an ONNX file"):
        session.compile_context(int8, tmp_path / "net.bin")
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        session.compile_context(tmp_path / "gone.onnx", tmp_path / "x.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.onnx: not an ONNX model"):
        session.compile_context(tmp_path / "text.onnx", tmp_path / "x.onnx")
    assert {f.name for f in tmp_path.iterdir()} == {"net.onnx", "net.json", "text.onnx"}


@needs_htp
def test_the_backend_s_own_trace_says_what_it_fused(int8, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trace = {k.name.split("_token")[0]: k for k in session.op_trace(int8)}
    conv, sigmoid, mul = (trace[f"/model.0/{name}"] for name in ("conv/Conv", "act/Sigmoid", "act/Mul"))
    assert {"model.0.conv.weight_DequantizeLinear", "/model.0/conv/Conv_output_0_QuantizeLinear"} <= set(conv.nodes)
    assert conv.cycles > 0 and mul.cycles > 0 and sigmoid.cycles == 0, "SiLU is one table"
    assert not list(tmp_path.iterdir()), "the backend writes into the folder where it stands"
