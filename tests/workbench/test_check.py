"""`python -m helpers check`, and `--shape` of `check` and `quantize`, as whoever types them sees it."""

import json

import numpy as np
import onnx
import pytest
from conftest import needs_htp
from small_models import net, weights

from helpers.__main__ import main
from helpers.qdq import preflight


@pytest.fixture
def dynamic(tmp_path):
    """A net of operator set 11 whose height and width are not fixed, and three inputs for it."""
    made = net("a = Identity(x)  b = Relu(a)  y = Conv(b, k)", 11, "float[N,4,H,W] x", k=weights(4, 4, 1, 1))
    onnx.save(made, tmp_path / "net.onnx")
    (tmp_path / "inputs").mkdir()
    for k in range(3):
        np.savez(tmp_path / "inputs" / f"{k}.npz", x=weights(1, 4, 8, 8, seed=k))
    return tmp_path / "net.onnx"


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@needs_htp
def test_check_says_what_is_whole_and_what_prepare_did(dynamic, capsys):
    code, out, _ = run(capsys, "check", dynamic, "--shape", "x=1x4x8x8")
    assert code == 0
    assert f"{dynamic}: whole on the HTP, 2 nodes" in out
    assert "prepare does it by itself: input 'x' is N×4×H×W: fixed at 1×4×8×8 (as asked)" in out
    assert "prepare does it by itself: operator set 11 → 17" in out
    assert "refused" not in out


@needs_htp
def test_check_names_each_refused_node_with_its_remedy(tmp_path, capsys):
    onnx.save(net("a = Conv(x, k)  b = Softsign(a)  y = Trilu(b)", k=weights(4, 4, 1, 1)), tmp_path / "net.onnx")
    code, out, _ = run(capsys, "check", tmp_path / "net.onnx")
    assert code == 1
    assert "the HTP refuses 2 of 3 nodes" in out
    assert "  Softsign 'Softsign_1': the HTP has no such operator in 8 bits; write it as x / (1 + Abs(x)).\n" in out
    code, out, _ = run(capsys, "check", tmp_path / "net.onnx", "--json")
    found = json.loads(out)
    assert code == 1 and found.keys() == set(preflight.Preflight._fields)
    assert (found["whole"], found["nodes"], [r["op"] for r in found["refusals"]]) == (False, 3, ["Softsign", "Trilu"])
    assert found["refusals"][0].keys() == set(preflight.Refusal._fields)


def test_where_nothing_compiles_it_says_so_and_ends_with_1(dynamic, capsys, monkeypatch):
    monkeypatch.setattr(preflight.targets, "quickest", lambda wanted: None)
    code, out, _ = run(capsys, "check", dynamic, "--shape", "x=1x4x8x8")
    assert code == 1 and "not compiled here; 0 of 2 nodes are known to be refused" in out
    assert "this machine has no QNN" in out


@pytest.mark.parametrize("command", [["check"], ["quantize", "--calibrate", "inputs"]])
def test_a_size_that_is_missing_or_wrong_is_one_sentence(command, dynamic, capsys, monkeypatch):
    monkeypatch.chdir(dynamic.parent)
    name, *rest = command
    cases = {
        (): "net.onnx: input 'x' is N×4×H×W and the HTP needs fixed sizes; add `--shape x=1x4x64x64` with yours",
        ("--shape", "x=1x4"): "input 'x' is N×4×H×W, which 1×4 does not fit",
        ("--shape", "z=1x4x8x8"): "has no input 'z' to give a shape; its inputs are x",
        ("--shape", "x"): "--shape x: is no input with its sizes; write it like images=1x3x640x640",
    }
    for shape, message in cases.items():
        code, out, err = run(capsys, name, "net.onnx", *rest, *shape)
        assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (dynamic.parent / "out").exists()


def test_quantize_prepares_a_dynamic_model_and_says_what_it_changed(dynamic, capsys):
    out = dynamic.parent / "out"
    code, _, err = run(
        capsys, "quantize", dynamic, "--calibrate", dynamic.parent / "inputs", "--shape", "x=1x4x8x8", "-o", out
    )
    assert code == 0, err
    assert "note: net.onnx: input 'x' is N×4×H×W: fixed at 1×4×8×8 (as asked)\n" in err
    assert "note: net.onnx: operator set 11 → 17\n" in err
    assert [n.op_type for n in onnx.load(out / "fp32.onnx").graph.node] == ["Relu", "Conv"]
