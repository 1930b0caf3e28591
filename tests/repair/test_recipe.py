"""The recipe on data/'s model."""

from helpers import assets, calibrate, qdq, repair, tasks, vision
from helpers.graph import Model


def test_the_recipe_is_better_than_its_start_and_says_what_it_did(cut, tmp_path):
    fp32, feeds = cut, list(vision.Feeds(assets.images()[:4], cut))
    made = repair.quantize_best(fp32, feeds, tmp_path / "best.onnx", probe=2, rounding=2, share=0.025)
    total = [step["score"] + step["box"] for step in made["steps"]]
    assert min(total) < 0.8 * total[0]
    params = qdq.list_qparams(tmp_path / "best.onnx")
    wide = {t for t, qp in params.items() if qp.dtype == "uint16"}
    assert set(made["a16"]) <= wide and 0 < len(wide) <= 0.025 * len(made["ranges"]), "copies count too"
    judged = list(vision.Feeds(assets.images("validation")[:6], fp32))
    plain = qdq.quantize_model(fp32, tmp_path / "mse.onnx", calibrate.ranges(calibrate.observe(fp32, feeds), "mse"))
    a, b = (tasks.head_drift(fp32, m, judged).total for m in (tmp_path / "best.onnx", plain))
    assert a < b, "and on pictures that it has not seen"


def test_the_recipe_for_four_bits_keeps_four_bits_and_loses_less_than_to_nearest(tmp_path):
    fp32 = qdq.split_head(assets.model(), tmp_path / "fp32.onnx")
    feeds = list(vision.Feeds(assets.images()[:6], fp32))
    made = repair.quantize_best(fp32, feeds, tmp_path / "best.onnx", weight="int4", probe=3, rounding=3, share=0)
    total = {step["step"]: step["score"] + step["box"] for step in made["steps"]}
    assert total[made["kept"]] < 0.7 * total["weights in 4 bits, to nearest"]
    params = qdq.list_qparams(tmp_path / "best.onnx")
    assert {params[n.input[1]].dtype for n in Model.of(fp32).nodes if n.op_type == "Conv"} == {"int4"}
