"""What the HTP's compiler says of its memory traffic, held against what must cross the border of the chip."""

import math

import pytest

from helpers import assets, graph, qdq, session
from helpers.targets import ddr_traffic
from helpers.targets.ddr_traffic import summary

htp = pytest.mark.skipif("htp" not in session.targets(), reason="no HTP here")


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traffic")
    return qdq.calibrate_and_quantize(assets.model(), assets.images()[:1], folder, "minmax").int8


@htp
def test_what_is_written_is_the_outputs_and_what_does_not_fit(int8):
    roomy, cramped = ddr_traffic(int8), ddr_traffic(int8, vtcm_mb="1")
    model = graph.Model.of(int8)
    outputs = 4 * sum(math.prod(model.shapes[name]) for name in model.outputs)  # float32
    assert roomy.spilled == 0 and outputs <= roomy.written < 1.1 * outputs
    assert cramped.spilled > 0 and cramped.written == roomy.written + cramped.spilled
    assert cramped.filled == cramped.spilled


@htp
def test_a_model_that_does_not_load_is_named(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(RuntimeError, match=r"broken\.onnx: the HTP's compiler refused it"):
        ddr_traffic(broken)


@htp
def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        ddr_traffic("gone.onnx")


def test_a_log_holds_one_summary_for_each_graph_and_the_last_counts():
    log = "spill_bytes=1\nfill_bytes=2\nwrite_total_bytes=3\nread_total_bytes=4\n"
    assert summary(log + log.replace("=1", "=7")) == (7, 2, 3, 4)


def test_a_log_without_a_summary_is_an_error():
    with pytest.raises(RuntimeError, match=r"int8\.onnx"):
        summary("spill_bytes=1", "int8.onnx")
