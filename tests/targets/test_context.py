"""A compiled context says what it is, and what is asked of the HTP is what it gets."""

import json
import re

import onnx
import onnx.parser
import pytest
from conftest import needs_htp

from helpers import graph, session
from helpers.__main__ import main
from helpers.targets import context
from helpers.targets import provider as QNN

NET = """<ir_version: 8, opset_import: ["": 17]> net (float[1,3,8,8] x) => (float[1,3,8,8] y)
    <float s = {0.0078125}, float t = {0.00390625}, uint8 z = {0}>
    { a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)  c = Sigmoid(b)
      d = QuantizeLinear(c, t, z)  y = DequantizeLinear(d, t, z) }"""
FLOAT = '<ir_version: 8, opset_import: ["": 17]> net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Sigmoid(x) }'


def save(text, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def net(tmp_path):
    return save(NET, tmp_path / "net.onnx")


def compiled_for(path) -> set[str]:
    """The architecture that the HTP's own compiler noted in the binary."""
    return {arch.decode() for arch in re.findall(rb"min_arch=(\d+);", path.read_bytes())}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vtcm_size": "4"}, "QNN has no option 'vtcm_size'; it knows: .*vtcm_mb"),
        ({"qnn_saver_path": "libQnnSaver.so"}, "QNN has no option 'qnn_saver_path'"),
        ({"htp_arch": "banana"}, "QNN option htp_arch='banana' is not allowed; allowed is, as a string: 68, 69, 73"),
        ({"htp_arch": "85"}, "htp_arch='85'"),
        ({"htp_arch": 73}, "htp_arch=73 is not allowed"),
        ({"vtcm_mb": "banana"}, "vtcm_mb='banana' .* an integer from 1 to 1024"),
        ({"vtcm_mb": "0"}, "vtcm_mb='0'"),
        ({"vtcm_mb": "4abc"}, "vtcm_mb='4abc'"),
        ({"soc_model": "-5"}, "soc_model='-5'"),
        ({"soc_model": "999"}, "soc_model='999'"),
        ({"soc_model": "0"}, "soc_model=0 names no chip"),
        ({"soc_model": "60", "htp_arch": "68"}, "soc_model=60 is a Hexagon v73 and htp_arch=68 is not"),
        ({"htp_performance_mode": "fast"}, "htp_performance_mode='fast' .*burst"),
        ({"profiling_level": "all"}, "profiling_level='all' .*detailed"),
        ({"qnn_context_priority": "urgent"}, "qnn_context_priority='urgent' .*normal"),
        ({"htp_graph_finalization_optimization_mode": "7"}, "mode='7' .*0, 1, 2, 3"),
        ({"rpc_control_latency": "-1"}, "rpc_control_latency='-1'"),
        ({"device_id": "-1"}, "device_id='-1'"),
        ({"enable_htp_fp16_precision": "yes"}, "enable_htp_fp16_precision='yes' .*0, 1"),
        ({"backend_path": "/nowhere/libQnnHtp.so"}, "backend_path='/nowhere/libQnnHtp.so'"),
        ({"backend_type": "cpu"}, "backend_type='cpu' .*htp"),
        ({"profiling_file_path": "/nowhere/x.csv"}, "profiling_file_path='/nowhere/x.csv'"),
        ({"op_packages": "banana"}, "op_packages='banana'"),
    ],
)
def test_an_option_is_checked_by_name_and_by_value(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        QNN.provider_options(options, QNN.X_ELITE)
    assert "\n" not in str(caught.value)


@needs_htp
@pytest.mark.parametrize("options", [{"htp_arch": "banana"}, {"vtcm_size": "4"}])
def test_load_and_compile_both_check_their_options(net, tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        session.load(net, "htp", **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        session.compile_context(net, tmp_path / "made.onnx", **options)
    assert [f.name for f in tmp_path.iterdir()] == ["net.onnx"]


@needs_htp
@pytest.mark.parametrize(
    ("options", "soc", "arch"),
    [
        ({}, "60", "73"),
        ({"soc_model": "0", "htp_arch": "68"}, "0", "68"),
        ({"htp_arch": "68"}, "0", "68"),
        ({"soc_model": "36"}, "36", "69"),
        ({"soc_model": "60", "vtcm_mb": "4"}, "60", "73"),
        ({"backend_type": "htp"}, "60", "73"),
    ],
)
def test_the_passport_holds_what_was_compiled_and_load_compares_it(net, tmp_path, options, soc, arch):
    made = session.compile_context(net, tmp_path / "made.onnx", **options)
    record = context.verify_manifest(made)
    assert (record["soc_model"], record["htp_arch"]) == (soc, arch) and compiled_for(made) == {arch}
    assert record["options"] == {"soc_model": soc, "htp_arch": arch} | options
    assert set(record) >= {"files", "source", "ranges", "onnxruntime", "onnxruntime-qnn"}
    session.load(made, "htp", **options)
    with pytest.raises(ValueError, match=f"compiled for soc_model {soc}, v{arch}.*, and this .* soc_model 57, v75"):
        session.load(made, "htp", soc_model="57")


@needs_htp
def test_each_architecture_and_chip_of_the_table_is_the_one_that_the_compiler_builds_for(net, tmp_path):
    for arch, socs in QNN.SOCS_OF_ARCH.items():
        made = session.compile_context(net, tmp_path / "made.onnx", soc_model=socs.split()[-1])
        assert compiled_for(made) == {arch}
    for arch in QNN.QNN_OPTIONS["htp_arch"].words.split(", "):
        assert compiled_for(session.compile_context(net, tmp_path / "made.onnx", htp_arch=arch)) == {arch}


@needs_htp
def test_another_hexagon_is_refused_while_a_session_of_one_is_open(net, tmp_path):
    small = session.compile_context(net, tmp_path / "small.onnx", vtcm_mb="4")
    first = session.load(net, "htp")
    feed = {"x": onnx.numpy_helper.to_array(onnx.helper.make_tensor("x", 1, [1, 3, 8, 8], [0.5] * 192))}
    before = first.run(None, feed)[0]
    for use in (session.load, lambda *a, **kw: session.compile_context(net, tmp_path / "made.onnx", **kw)):
        with pytest.raises(RuntimeError, match=r"session for soc_model 60, v73 is open; .* soc_model 0, v68"):
            use(net, "htp", htp_arch="68")
        with pytest.raises(RuntimeError, match="soc_model 60, v73 with 4 MB of VTCM"):
            use(net, "htp", vtcm_mb="4")
    with pytest.raises(RuntimeError, match="soc_model 60, v73 with 4 MB of VTCM"):
        session.load(small, "htp")
    assert (first.run(None, feed)[0] == before).all(), "the open session broke"
    del first
    session.load(net, "htp", htp_arch="68").run(None, feed)
    session.load(small, "htp").run(None, feed)
    with pytest.raises(ValueError, match=r"v73 with 4 MB of VTCM, and this session is for .* v73 with 8 MB"):
        session.load(small, "htp", vtcm_mb="8")


@needs_htp
def test_a_failure_names_the_options_that_may_be_its_cause(net):
    with pytest.raises(RuntimeError, match=r"cannot run on the HTP with device_id=7, .* or leave an option out"):
        session.load(net, "htp", device_id="7")


@needs_htp
def test_a_context_may_have_any_name(net, tmp_path):
    made = session.compile_context(net, tmp_path / "net[1].onnx", False)
    assert set(context.verify_manifest(made)["files"]) == {"net[1].onnx", "net[1]_qnn.bin"}
    session.load(made, "htp")


def test_a_float_model_is_not_compiled(tmp_path):
    with pytest.raises(ValueError, match=r"float\.onnx: not quantized .* float16; quantize it first"):
        session.compile_context(save(FLOAT, tmp_path / "float.onnx"), tmp_path / "made.onnx")
    assert [f.name for f in tmp_path.iterdir()] == ["float.onnx"]


READ, FOREIGN = "is read here and would be written over", "exists and is no"


@pytest.mark.parametrize(
    ("name", "why"),
    {
        "net": READ,
        "./sub/../net": READ,
        "link": READ,
        "ranges": READ,
        "report": FOREIGN,
        "fp32": FOREIGN,
        "w": FOREIGN,
    }.items(),
)
def test_compile_writes_over_nothing_that_is_not_a_context(net, tmp_path, capsys, name, why):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.onnx").symlink_to(net)
    (tmp_path / "ranges.json").write_text('{"method": "minmax", "calibrated_on": []}')
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "w_qnn.bin").write_bytes(b"weights")
    save(FLOAT, tmp_path / "fp32.onnx")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()}
    assert main(["compile", str(net), "-o", f"{tmp_path}/{name}.onnx"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and why in error
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before


@needs_htp
def test_a_context_is_compiled_again_over_itself(net, tmp_path):
    for _ in range(2):
        assert main(["compile", str(net), "-o", str(tmp_path / "made.onnx")]) == 0
    foreign = tmp_path / "ranges.json"
    foreign.write_text(json.dumps({"of": "another tool"}))
    session.compile_context(net, tmp_path / "made.onnx")
    assert context.verify_manifest(tmp_path / "made.onnx")["ranges"] == "unknown"


def test_what_is_read_is_known_through_links_and_other_spellings(tmp_path):
    here = save(FLOAT, tmp_path / "a.onnx")
    (tmp_path / "b.onnx").hardlink_to(here)
    graph.refuse_overwrite([tmp_path / "c.onnx"], [here, tmp_path / "gone.onnx"])
    for name in ("a.onnx", "b.onnx", "../" + tmp_path.name + "/a.onnx"):
        with pytest.raises(ValueError, match="is read here and would be written over"):
            graph.refuse_overwrite([tmp_path / "c.onnx", tmp_path / name], [here])


def test_a_real_npu_gets_no_hexagon_that_nobody_named():
    assert QNN.provider_options({"htp_performance_mode": "burst"}, {}) == {"htp_performance_mode": "burst"}


@needs_htp
def test_a_context_of_another_machine_s_npu_is_not_the_emulator_s(net, tmp_path):
    made = session.compile_context(net, tmp_path / "made.onnx")
    record = context.verify_manifest(made)
    for name in ("soc_model", "htp_arch", "options"):
        del record[name]
    context.manifest(made).write_text(json.dumps(record | {"device": "this NPU"}))
    assert context.fit(made, {}) == {}, "on a real NPU there is nothing to compare"
    with pytest.raises(ValueError, match=r"compiled for an NPU that it does not name, and this .* soc_model 60, v73"):
        session.load(made, "htp")
