"""Files of models: what is refused, by name."""

import onnx
import pytest
from onnx import TensorProto
from small_models import conv_model

from helpers import graph


@pytest.mark.parametrize("location", ["../secret.bin", "nowhere.bin"])
def test_weights_outside_of_the_models_folder_are_refused(location, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    folder = tmp_path / "model"
    folder.mkdir()
    model = onnx.load(conv_model(folder / "a.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ValueError, match=r"a\.onnx: its weights in other files cannot be read .* into the model's folder"
    ) as e:
        graph.read_model(folder / "a.onnx")
    assert "\n" not in str(e.value)
