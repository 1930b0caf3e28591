"""INT8 quantization for NPUs: what the notebooks and the tests of this course share."""

import os as _os
import sys as _sys
import warnings as _warnings

# From 1.32 on ONNX Runtime's import keeps a device id in the user's cache and sends events; it reads this just once.
if "onnxruntime" in _sys.modules and "ORT_DISABLE_TELEMETRY" not in _os.environ:
    _warnings.warn(
        "onnxruntime was imported before helpers, so its telemetry may be on: import helpers first, "
        "or set ORT_DISABLE_TELEMETRY=1 before Python starts.",
        stacklevel=2,
    )
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
