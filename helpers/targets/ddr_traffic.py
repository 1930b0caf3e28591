"""How many bytes the HTP's compiler plans to move between the chip's own memory, the VTCM, and the memory outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import helpers
from helpers.graph import StrPath
from helpers.targets.provider import provider_options, qnn

_NAMES = ("spill_bytes", "fill_bytes", "write_total_bytes", "read_total_bytes")  # as the compiler's log has them
# A process of its own: the log is a setting of the whole process, and the emulator is one Hexagon at a time.
_SCRIPT = """
import json, sys
from helpers.targets.htp import qnn_options
from helpers.targets.provider import provider_options, qnn
import onnxruntime
onnxruntime.set_default_logger_severity(0)
device, needed = qnn()
settings = qnn_options(device, provider_options(json.loads(sys.argv[2]), needed), whole=True)
settings.log_severity_level = 0
onnxruntime.InferenceSession(sys.argv[1], settings)
"""


class Traffic(NamedTuple):
    """Bytes of one run: inner tensors that go out for want of room and come back, and all that is written and read."""

    spilled: int
    filled: int
    written: int
    read: int


def ddr_traffic(path: StrPath, **options: str) -> Traffic:
    """Bytes that one run of a model moves out of the VTCM and back, as the HTP's compiler plans it.

    `options` are the QNN provider's: `vtcm_mb="1"` gives the compiler less room. The plan is the compiler's, for the
    chip that it compiles for; nothing has been run or timed. Raises FileNotFoundError, ValueError for an option, and
    RuntimeError where there is no HTP, where it refuses the model, and where the log holds no summary.
    Source: the summary "DDR bandwidth" in the log of onnxruntime-qnn 2.7.0.

    >>> ddr_traffic("int8.onnx", vtcm_mb="0")
    Traceback (most recent call last):
    ValueError: QNN option vtcm_mb='0' is not allowed; allowed is, as a string: an integer from 1 to 1024.
    """
    provider_options(options, {})  # a wrong option, no HTP and no file are refused here, before a process starts
    qnn()
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of an ONNX model.")
    folder = Path(helpers.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(Path(path).resolve()), json.dumps(options)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        raise RuntimeError(f"{path}: the HTP's compiler refused it: {done.stderr.strip().splitlines()[-1]}")
    return summary(done.stderr, str(path))


def summary(log: str, name: str = "the log") -> Traffic:
    """The last summary of DDR bandwidth in a log of the HTP's compiler; raises RuntimeError where there is none.

    >>> summary("[V] spill_bytes=1 [V] fill_bytes=2 [V] write_total_bytes=3 [V] read_total_bytes=4")
    Traffic(spilled=1, filled=2, written=3, read=4)
    """
    found = [re.findall(rf"\b{key}=(\d+)", log) for key in _NAMES]
    if not all(found):
        raise RuntimeError(f"{name}: the HTP's compiler gave no summary of its memory traffic with this version.")
    return Traffic(*(int(numbers[-1]) for numbers in found))
