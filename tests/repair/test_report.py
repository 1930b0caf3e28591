"""What the recipe's report says against what was measured."""

import json

import numpy as np
from PIL import Image

from helpers import assets, qdq, repair, vision

STEPS = {
    "steps": [
        {"step": "minmax ranges", "score": 0.2, "box": 0.1, "seconds": 1.0},
        {"step": "mse ranges", "score": 0.1, "box": 0.05, "seconds": 2.0},
    ],
    "kept": "mse ranges",
    "a16": [],
}


def test_the_report_says_what_the_two_models_do(cut, int8, tmp_path):
    for name, path in (("fp32.onnx", cut), ("int8.onnx", int8)):
        (tmp_path / name).write_bytes(path.read_bytes())
    inputs = assets.images("validation")[:9]
    repair.write_report(tmp_path, "scenes.onnx", inputs, STEPS)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["model"] == "scenes.onnx" and {k: found[k] for k in STEPS} == STEPS
    few = inputs[:8]
    assert found["compared_on"] == [p.name for p in few]
    assert found["bytes"] == {p: (tmp_path / p).stat().st_size for p in ("fp32.onnx", "int8.onnx")}
    sqnr = qdq.layer_sqnr(cut, int8, vision.Feeds(few[:2], cut))
    assert found["activation_tensors"] == len(sqnr)
    assert found["sqnr_db"] == {t: round(v, 2) for t, v in sqnr.items() if np.isfinite(v)}
    results = [[vision.Detector(m).detect(p, conf=0.001) for p in few] for m in (cut, int8)]
    assert found["paired"]["agreement"] == list(vision.paired_metrics(*results)["agreement"])
    with Image.open(tmp_path / "report.png") as page:
        assert page.width == 800 and page.height > 800, "three figures under each other"


def test_where_nothing_is_seen_nothing_is_compared(cut, int8, tmp_path):
    for name, path in (("fp32.onnx", cut), ("int8.onnx", int8)):
        (tmp_path / name).write_bytes(path.read_bytes())
    Image.new("RGB", (320, 320), (90, 90, 90)).save(tmp_path / "grey.png")
    repair.write_report(tmp_path, "scenes.onnx", [tmp_path / "grey.png"], STEPS)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "paired" not in found and found["compared_on"] == ["grey.png"] and found["sqnr_db"]
