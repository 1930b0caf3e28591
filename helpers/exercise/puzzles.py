"""Puzzles: quantized detectors that somebody has broken. Name the fault, then mend the file."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers import assets, calibrate, qdq, vision
from helpers.exercise.verdict import Verdict
from helpers.graph import Model, StrPath

Ranges = dict[str, tuple[float, float]]

SCENES = 16  # that a mended file is judged on
NEAR = 0.03  # AP that it may stay below the file that nobody broke


class Parts(NamedTuple):
    """What every puzzle is made from: the float model (whole and cut), its histograms and a sound INT8 file."""

    whole: Path
    fp32: Path
    histograms: dict[str, calibrate.Histogram]
    ranges: Ranges
    int8: Path


@functools.cache
def parts() -> Parts:
    """The sound parts, made once a process: percentile ranges from 16 scenes."""
    folder = Path(tempfile.mkdtemp())
    fp32 = qdq.split_head(assets.model(), folder / "fp32.onnx")
    histograms = calibrate.observe(fp32, vision.Feeds(assets.images("calibration")[:16], fp32))
    ranges = calibrate.ranges(histograms, "percentile")
    return Parts(assets.model(), fp32, histograms, ranges, qdq.quantize_model(fp32, folder / "int8.onnx", ranges))


def _with_ranges(found: Parts, out: Path, changed: Ranges) -> Path:
    return qdq.quantize_model(found.fp32, out, found.ranges | changed)


def _edited(found: Parts, out: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The sound INT8 file with one stored array changed."""
    model = Model.of(found.int8)
    return model.with_weights({name: change(model.constants[name])}).save(out)


def not_divided(found: Parts, out: Path) -> Path:
    """Calibrated on pixels 0 … 255, run on pixels 0 … 1: all codes of the input lie at one end."""
    low, high = found.ranges["images"]
    return _with_ranges(found, out, {"images": (255 * low, 255 * high)})


def scales_reversed(found: Parts, out: Path) -> Path:
    """The scales of one weight stand in reverse order: every channel is counted in another one's steps."""
    return _edited(found, out, "model.1.conv.weight_scale", lambda s: s[::-1])


def one_scale(found: Parts, out: Path) -> Path:
    """The graph was not cut: boxes in hundreds of pixels and scores below 1 share one scale."""
    seen = calibrate.observe(found.whole, vision.Feeds(assets.images("calibration")[:8], found.whole))
    return qdq.quantize_model(found.whole, out, calibrate.ranges(seen, "minmax"))


def bias_scale(found: Parts, out: Path) -> Path:
    """One bias was counted in another unit than S_x·S_w: its codes are 8 times too large."""
    return _edited(found, out, "model.2.cv1.conv.bias_quantized", lambda b: 8 * b.astype(np.int64))


def stuck_neuron(found: Parts, out: Path) -> Path:
    """One picture held a value of 1000 behind every activation function, and minmax followed."""
    far = calibrate.Histogram().update([1000.0], feed=3)
    stuck = {t: calibrate.minmax(h + far) for t, h in found.histograms.items() if t.endswith("Mul_output_0")}
    return _with_ranges(found, out, stuck)


def zero_point(found: Parts, out: Path) -> Path:
    """One zero point is 200 codes off: few codes are left above 0, and large values are clipped."""
    return _edited(found, out, "/model.4/cv1/act/Mul_output_0_zero_point", lambda z: z + 200)


def wrapped_weights(found: Parts, out: Path) -> Path:
    """Weights of one layer were cast before they were clamped: the largest have changed sign."""
    return _edited(found, out, "model.1.conv.weight_quantized", lambda w: (w.astype(int) * 2 + 128) % 256 - 128)


def grey_calibration(found: Parts, out: Path) -> Path:
    """Calibrated on one grey picture: every range is far too narrow."""
    from PIL import Image

    grey = vision.Feeds([Image.new("RGB", (64, 64), "grey")], found.fp32)
    return _with_ranges(found, out, calibrate.ranges(calibrate.observe(found.fp32, grey), "minmax"))


def small_scale(found: Parts, out: Path) -> Path:
    """One activation's scale is a quarter of what it should be: its large values are clipped."""
    return _edited(found, out, "/model.4/cv2/act/Mul_output_0_scale", lambda s: s / 4)


def one_sick_filter(found: Parts, out: Path) -> Path:
    """One scale serves a whole weight in which one filter is 100 times too large: the others keep no codes."""
    model = Model.of(found.fp32)
    weight = model.constants["model.3.conv.weight"].copy()
    top = float(np.abs(weight).max() * 100)
    step = top / 127
    return _replaced(found, out, "model.3.conv.weight", np.rint(weight / step) * step)


def _replaced(found: Parts, out: Path, name: str, weight: np.ndarray) -> Path:
    model = Model.of(found.fp32).with_weights({name: weight})
    return qdq.quantize_model(model.save(out.with_suffix(".fp32.onnx")), out, found.ranges)


FAULTS: dict[str, Callable[[Parts, Path], Path]] = {
    "pixels not divided by 255": not_divided,
    "the scales of a weight in reverse order": scales_reversed,
    "boxes and scores under one scale": one_scale,
    "a bias in another unit": bias_scale,
    "a stuck neuron in the calibration": stuck_neuron,
    "a wrong zero point": zero_point,
    "weights cast before they were clamped": wrapped_weights,
    "calibrated on one grey picture": grey_calibration,
    "an activation's scale too small": small_scale,
    "one scale for a weight with one sick filter": one_sick_filter,
}
_ORDER = np.random.default_rng(7).permutation(len(FAULTS))  # so that a number tells nothing


def accuracy(path: StrPath) -> float:
    """AP50-95 on the first validation scenes, graph as written."""
    return vision.evaluate(path, assets.images("validation")[:SCENES])["AP50-95"]


@functools.cache
def _sound() -> float:
    """AP of the file that nobody broke."""
    return accuracy(parts().int8)


class Puzzle:
    """One broken file: look into `path`, name the fault, and mend it.

    `fp32` is the float model it was made from (not the one without a cut), `calibration` its pictures.
    """

    def __init__(self, number: int) -> None:
        if not 1 <= number <= len(FAULTS):
            raise ValueError(f"puzzle {number} is unknown; there are 1 to {len(FAULTS)}.")
        self.number = number
        self._fault = list(FAULTS)[_ORDER[number - 1]]
        found = parts()
        self.path = FAULTS[self._fault](found, Path(tempfile.mkdtemp()) / f"puzzle{number}.onnx")
        self.fp32, self.sound_ranges = found.fp32, dict(found.ranges)

    def __repr__(self) -> str:
        return f"puzzle {self.number}: AP {accuracy(self.path):.3f}; unbroken it has {_sound():.3f}."

    def is_it(self, fault: str | None) -> Verdict:
        """Whether that is the fault; ValueError that lists the faults there are."""
        if fault is None:
            return Verdict(False, float("inf"), f"Which of these? {'; '.join(FAULTS)}.")
        if fault not in FAULTS:
            raise ValueError(f"'{fault}' is no fault of these puzzles; choose one of: {'; '.join(FAULTS)}.")
        if fault == self._fault:
            return Verdict(True, 0.0, f"Right: {fault}.")
        text = (
            "No. Set what the file stores beside what a sound file would: ranges, scales, codes, one tensor at a time."
        )
        return Verdict(False, float("inf"), text)

    def mended(self, path: StrPath | None) -> Verdict:
        """Whether a file that you mended detects again: AP within 0.03 of the unbroken one's."""
        if path is None:
            return Verdict(False, float("inf"), "Mend a copy of `path` and give its path.")
        target, reached = _sound(), accuracy(path)
        words = f"AP {reached:.3f}; unbroken {target:.3f}."
        return Verdict(reached >= target - NEAR, max(target - reached, 0.0), words)


def puzzle(number: int) -> Puzzle:
    """Puzzle 1 … 10, made anew in a folder for temporary files; raises ValueError for another number."""
    return Puzzle(number)
