"""Where the HTP rounds otherwise than the graph says."""

import onnx
import pytest

from helpers import assets, qdq, vision


@pytest.fixture(scope="module")
def feeds(cut):
    return list(vision.Feeds(assets.images("validation")[:2], cut))


def test_rounding_gap_is_nothing_where_codes_only_move_and_small_where_they_are_rounded(int8, feeds):
    gap = qdq.rounding_gap(int8, feeds[:1])
    kinds = {}
    for group in qdq.fused_groups(int8):
        if group.output in gap:
            kinds.setdefault(group.op, []).append(gap[group.output])
    assert all(pair == (0, 0) for op in ("MaxPool", "Resize", "Split") for pair in kinds[op])
    assert all(0 < share < 0.06 and abs(lean) < 0.03 for share, lean in kinds["Conv"])


def test_rounding_gap_sees_one_operator_only(cut, int8, ranges, feeds, tmp_path):
    """A clipped tensor upstream changes the codes everywhere, but hardly the share that each operator differs by."""
    path = tmp_path / "clipped.onnx"
    onnx.save(qdq.set_range(onnx.load(int8), "/model.1/act/Mul_output_0", -0.3, 1.0), path)
    a, b = (qdq.rounding_gap(p, feeds[:1]) for p in (int8, path))
    convs = [g.output for g in qdq.fused_groups(int8) if g.op == "Conv"][5:]
    assert max(abs(a[t][0] - b[t][0]) for t in convs) < 0.02
