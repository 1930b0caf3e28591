"""Two contests with a number: the least drift with three 16-bit tensors, and a multiplier that is to be found out."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from helpers import qdq, tasks, vision
from helpers.assets import images
from helpers.exercise.progress import file
from helpers.exercise.puzzles import parts
from helpers.exercise.show import Table, show
from helpers.exercise.verdict import Verdict
from helpers.graph import save_json
from helpers.integer import htp_rounding

TENSORS = 3  # that may have 16 bits
SCENES = 8  # of the validation scenes, that drift is measured on


@functools.cache
def _judge() -> tuple[Any, Any]:
    """The feeds that judge, and what the float model gives on them."""
    feeds = vision.Feeds(images("validation")[:SCENES], parts().fp32)
    return feeds, tasks.recognise(parts().fp32).reference_outputs(parts().fp32, feeds)


def _scores() -> Path:
    return file().with_name("board.json")


def drift_with(tensors: Collection[str], player: str = "you") -> float:
    """Drift of the detector's outputs with these tensors at 16 bits, all others at 8; kept on the board.

    ValueError for more than three tensors, and for names that the model does not have.
    """
    if len(set(tensors)) > TENSORS:
        raise ValueError(f"{len(set(tensors))} tensors are too many: three may have 16 bits.")
    found, (feeds, reference) = parts(), _judge()
    wide = {name: found.histograms[name].range for name in tensors if name in found.histograms}
    with tempfile.TemporaryDirectory() as folder:
        path = qdq.quantize_model(found.fp32, Path(folder) / "try.onnx", found.ranges | wide, a16=set(tensors))
        drift = tasks.recognise(found.fp32).drift_against(reference, path, feeds).total
    kept = _read()
    if player not in kept or drift < kept[player]["drift"]:
        kept[player] = {"drift": round(float(drift), 4), "tensors": sorted(tensors)}
        _scores().parent.mkdir(parents=True, exist_ok=True)
        save_json(kept, _scores())
    return float(drift)


def _read() -> dict[str, dict[str, Any]]:
    return json.loads(_scores().read_text(encoding="utf-8")) if _scores().is_file() else {}


def board() -> Table:
    """The least drift of each player, best first."""
    rows = sorted(_read().items(), key=lambda row: row[1]["drift"])
    return show(
        {name: (entry["drift"], ", ".join(entry["tensors"])) for name, entry in rows}, "player", "drift", "16 bits"
    )


class SecretMultiplier:
    """A layer of one sum: answers with the HTP's code of it, and hides the multiplier M = m·2^(e − 12).

    The zero point is 0, so a code is near sum·M, kept within 0 … 255.

    >>> SecretMultiplier(1).ask([0])
    [0]
    """

    def __init__(self, seed: int) -> None:
        real = float(np.random.default_rng(seed).uniform(1e-4, 6e-4))
        self._m, self._e = htp_rounding.fixed_point(real, 12)

    def ask(self, sums: Collection[int]) -> list[int]:
        """Codes of int32 sums, as the HTP's matrix unit makes them."""
        acc = np.array(list(sums), np.int32)
        return htp_rounding.htp_requantize(acc, np.array(self._m, np.int32), np.array(self._e, np.int32), 0).tolist()

    def is_it(self, m: int | None, e: int | None) -> Verdict:
        """Whether M = m·2^(e − 12), m in 2048 … 4095."""
        if m is None or e is None:
            return Verdict(False, float("inf"), "Ask for sums, find where codes change, and give m and e.")
        mine, theirs = m * 2.0 ** (e - 12), float(self._m) * 2.0 ** (int(self._e) - 12)
        if (m, e) == (int(self._m), int(self._e)):
            return Verdict(True, 0.0, "Right, to the last of its 12 bits.")
        off = abs(mine / theirs - 1)
        return Verdict(False, abs(mine - theirs), f"Not yet: your M is off by {100 * off:.3g} %.")
