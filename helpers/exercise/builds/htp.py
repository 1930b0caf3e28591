"""Chapter 07: where the nodes ran, and how fast a layer can be, written by the reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from helpers.exercise.build import Build, Case, Mistake
from helpers.graph.cost import Layer, seconds

CHAPTER = "07_htp"
QNN, CPU = "QNNExecutionProvider", "CPUExecutionProvider"


def placement(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    """(nodes on QNN, nodes elsewhere, whether the graph is whole on QNN): the course's own answer."""
    on_qnn = sum(provider == QNN for provider in placed.values())
    return on_qnn, len(placed) - on_qnn, 0 < on_qnn == len(placed)


def _placement_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield {"placed": {"Conv_0": QNN}}
    yield {"placed": {"Conv_0": CPU}}
    yield {"placed": {"Conv_0": QNN, "Cast_1": CPU}}
    yield {"placed": {"Conv_0": QNN, "Conv_1": QNN, "Cast_2": CPU}}
    yield {"placed": {"Conv_0": QNN, "MatMul_1": "DmlExecutionProvider"}}
    yield {"placed": {}}
    for count in (20, 300):
        yield {"placed": {f"node_{k}": QNN if rng.random() < 0.9 else CPU for k in range(count)}}


def _providers(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    kinds = set(placed.values())
    return int(QNN in kinds), len(kinds - {QNN}), kinds == {QNN}


def _any_is_whole(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    on_qnn, elsewhere, _ = placement(placed)
    return on_qnn, elsewhere, on_qnn > 0


def _most_is_whole(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    on_qnn, elsewhere, _ = placement(placed)
    return on_qnn, elsewhere, on_qnn > elsewhere


def _only_cpu_counts(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    on_qnn, on_cpu = (sum(provider == name for provider in placed.values()) for name in (QNN, CPU))
    return on_qnn, on_cpu, on_qnn > 0 and on_cpu == 0


def _empty_is_whole(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    on_qnn, elsewhere, _ = placement(placed)
    return on_qnn, elsewhere, elsewhere == 0


def _swapped(placed: Mapping[str, str]) -> tuple[int, int, bool]:
    on_qnn, elsewhere, whole = placement(placed)
    return elsewhere, on_qnn, whole


PLACEMENT = Build(
    name="htp.placement",
    chapter=CHAPTER,
    title="Read a placement",
    level=1,
    minutes=5,
    reference=placement,
    cases=_placement_cases,
    hints=(
        "placed is {node: provider}: count the values that are 'QNNExecutionProvider', and those that are not.",
        "whole means: at least one node on QNN, and none anywhere else. Elsewhere is every other provider.",
    ),
    mistakes=(
        Mistake("QNN somewhere is not QNN everywhere: one node elsewhere, and the graph is not whole.", _any_is_whole),
        Mistake("Most nodes are not all nodes. Whole means that none is elsewhere.", _most_is_whole),
        Mistake("You counted providers. Count nodes: the values of the dictionary, each time they occur.", _providers),
        Mistake("A node may run on a third provider. Count all that is not QNN, not the CPU alone.", _only_cpu_counts),
        Mistake("A record without a node proves nothing: then the answer is not whole.", _empty_is_whole),
        Mistake("The two counts are swapped: first QNN, then the rest.", _swapped),
    ),
)


def roofline_time(macs: float, moved: float, peak: float, bandwidth: float) -> float:
    """max(MACs/peak, bytes/bandwidth) in seconds: the course's own answer."""
    return seconds(Layer("", "", int(macs), int(moved), 0, 0), peak, bandwidth)


def _roofline_cases(rng: np.random.Generator) -> Iterable[Case]:
    for macs, moved, peak, bandwidth in ((2000, 20, 1000, 40), (1000, 120, 1000, 40), (0, 80, 1000, 40)):
        yield {"macs": macs, "moved": moved, "peak": peak, "bandwidth": bandwidth}
    for _ in range(10):
        macs, moved = (int(v) for v in 10 ** rng.uniform(3, 9, 2))
        yield {"macs": macs, "moved": moved, "peak": 22.5e12, "bandwidth": 136e9}


ROOFLINE = Build(
    name="htp.roofline_time",
    chapter=CHAPTER,
    title="The least time of a layer",
    level=1,
    minutes=4,
    reference=roofline_time,
    cases=_roofline_cases,
    rtol=1e-9,
    hints=(
        "how long do the multiplications take, how long do the bytes take, and which of them keeps you waiting?",
        "macs / peak and moved / bandwidth run at the same time: the longer one counts.",
    ),
    mistakes=(
        Mistake(
            "You added the two. The engine multiplies while bytes arrive: the longer one counts.",
            lambda m, b, p, w: m / p + b / w,
        ),
        Mistake(
            "You took the shorter of the two. The layer is done when both are.", lambda m, b, p, w: min(m / p, b / w)
        ),
        Mistake("That is the time of the multiplications alone. Bytes take time too.", lambda m, b, p, w: m / p),
        Mistake("That is the time of the bytes alone. Multiplications take time too.", lambda m, b, p, w: b / w),
        Mistake("You divided the wrong way round: work / rate is time.", lambda m, b, p, w: max(p / m, w / b)),
    ),
)


def codes_apart(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, int]:
    """(share of values whose codes are equal, the most steps apart) of two runs' real outputs: the course's own."""
    steps = np.rint((a.astype(np.float64) - b) / scale)
    return float(np.mean(steps == 0)), int(np.abs(steps).max())


def _apart_cases(rng: np.random.Generator) -> Iterable[Case]:
    for a, b, scale in (([1.0], [1.0], 0.5), ([1.0, 2.0], [1.5, 2.0], 0.5), ([0.5, 1.0], [1.5, 1.0], 0.5)):
        yield {"a": np.array(a, np.float32), "b": np.array(b, np.float32), "scale": scale}
    yield {"a": np.array([0.3], np.float32), "b": np.array([0.30000004], np.float32), "scale": 0.1}
    codes = rng.integers(0, 256, (2, 1000))
    codes[1, :600] = codes[0, :600]
    a, b = (0.0371 * codes).astype(np.float32)
    yield {"a": a, "b": b, "scale": 0.0371}


def _exactly_equal(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, int]:
    return float(np.mean(a == b)), codes_apart(a, b, scale)[1]


def _cut(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, int]:
    steps = ((a - b) / scale).astype(int)
    return float(np.mean(steps == 0)), int(np.abs(steps).max())


def _signed_most(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, int]:
    return codes_apart(a, b, scale)[0], int(np.rint((a - b) / scale).max())


def _in_percent(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, int]:
    share, most = codes_apart(a, b, scale)
    return 100 * share, most


def _in_reals(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, float]:
    return codes_apart(a, b, scale)[0], float(np.abs(a - b).max())


APART = Build(
    name="htp.codes_apart",
    chapter=CHAPTER,
    title="How many codes apart",
    level=2,
    minutes=6,
    reference=codes_apart,
    cases=_apart_cases,
    rtol=1e-6,
    hints=(
        "a and b are S·(q − Z): their difference divided by S is a whole number of codes, but for a tiny rest.",
        "steps = np.rint((a − b) / scale); the share where steps is 0, and the largest of |steps|.",
    ),
    mistakes=(
        Mistake("You compared real numbers. The same code may differ in the last bit: compare steps.", _exactly_equal),
        Mistake("You cut off the fraction: 2.9999998 steps are 3. Round.", _cut),
        Mistake("The most steps apart may be downwards: take the absolute value.", _signed_most),
        Mistake("That is a share in percent. Give it as 0 … 1.", _in_percent),
        Mistake("That is a distance in real numbers. Divide by the scale: how many codes?", _in_reals),
    ),
)

BUILDS = [PLACEMENT, APART, ROOFLINE]
