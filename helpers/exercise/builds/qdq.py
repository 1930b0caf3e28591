"""Chapter 05: the QDQ form of a node, a bias's scale, and tensors that should not share one, written by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "05_qdq"
Node = tuple[str, tuple[str, ...], tuple[str, ...]]  # operator, inputs, outputs
Q, DQ = "Q", "DQ"


def insert(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    """A node with Q and DQ on its inputs and outputs; what is stored has codes already, so DQ alone."""
    before = [node for t in inputs for node in _pair(t)[t in stored :]]
    node = (op, tuple(f"{t}_dq" for t in inputs), outputs)
    return [*before, node, *(node for t in outputs for node in _pair(t))]


def _pair(tensor: str) -> list[Node]:
    return [(Q, (tensor,), (f"{tensor}_q",)), (DQ, (f"{tensor}_q",), (f"{tensor}_dq",))]


def _insert_cases(rng: np.random.Generator) -> Iterable[Case]:
    for op, inputs, outputs, stored in (
        ("Relu", ("x",), ("y",), set()),
        ("Add", ("a", "b"), ("y",), set()),
        ("Conv", ("x", "w"), ("y",), {"w"}),
        ("Conv", ("x", "w", "bias"), ("y",), {"w", "bias"}),
        ("Split", ("x",), ("y", "z"), set()),
    ):
        yield {"op": op, "inputs": inputs, "outputs": outputs, "stored": stored}


def _no_output_pair(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    return insert(op, inputs, outputs, stored)[: -2 * len(outputs)]


def _quantizes_stored(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    return insert(op, inputs, outputs, set())


def _reads_codes(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    renamed = (op, tuple(f"{t}_q" for t in inputs), outputs)
    return [renamed if node[0] == op else node for node in insert(op, inputs, outputs, stored)]


def _reads_reals(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    return [(op, inputs, outputs) if node[0] == op else node for node in insert(op, inputs, outputs, stored)]


def _primer(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    before = [(Q, (t,), (f"{t}_q",)) for t in inputs if t not in stored]
    node = (op, tuple(f"{t}_q" for t in inputs), tuple(f"{t}_q" for t in outputs))
    return [*before, node, *((DQ, (f"{t}_q",), (f"{t}_dq",)) for t in outputs)]


def _first_output_only(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stored: set[str]) -> list[Node]:
    return insert(op, inputs, outputs, stored)[: 2 - 2 * len(outputs) or None]


INSERT = Build(
    name="qdq.insert",
    chapter=CHAPTER,
    title="Q and DQ around one node",
    level=2,
    minutes=12,
    reference=insert,
    cases=_insert_cases,
    hints=(
        "three groups in order: Q and DQ of each input (of a stored one DQ alone), the node, Q and DQ of each output.",
        "the node reads t_dq of each input t and keeps its outputs' names; after it come Q from y to y_q and DQ from "
        "y_q to y_dq. Inputs and outputs are tuples, also of one name: (t,).",
    ),
    mistakes=(
        Mistake("The output has no Q and DQ: its codes would never be made.", _no_output_pair),
        Mistake("You quantize what is stored. A stored tensor has its codes in the file: DQ alone.", _quantizes_stored),
        Mistake(
            "Your node reads codes. In a QDQ graph it is still a float node: it reads what DQ gives.", _reads_codes
        ),
        Mistake("Your node still reads the tensors themselves, around your Q and DQ. Let it read t_dq.", _reads_reals),
        Mistake("That is Q → node → DQ. What a compiler looks for is DQ → node → Q, pairs on both sides.", _primer),
        Mistake("A node may have several outputs, each with a Q and a DQ.", _first_output_only),
    ),
)


def bias_scale(x_scale: float, w_scales: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S_x·S_w for each channel, the bias's int32 codes at it)."""
    scales = x_scale * w_scales
    return scales, np.rint(bias / scales).astype(np.int64)


def _bias_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield {"x_scale": 0.5, "w_scales": np.array([0.5]), "bias": np.array([1.0])}
    yield {"x_scale": 0.5, "w_scales": np.array([0.1, 0.2]), "bias": np.array([1.0, -1.07])}
    yield {"x_scale": 0.1, "w_scales": np.array([0.01]), "bias": np.array([5.0])}
    yield {"x_scale": 0.013, "w_scales": rng.uniform(0.001, 0.01, 32), "bias": rng.normal(0, 3, 32)}


def _at_scale(of: Callable[[float, np.ndarray], np.ndarray]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A wrong `bias_scale` at another scale."""
    return lambda x_scale, w_scales, bias: (of(x_scale, w_scales), np.rint(bias / of(x_scale, w_scales)))


def _eight_bits(x_scale: float, w_scales: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scales, codes = bias_scale(x_scale, w_scales, bias)
    return scales, np.clip(codes, -128, 127)


def _truncated(x_scale: float, w_scales: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x_scale * w_scales, np.trunc(bias / (x_scale * w_scales))


def _one_for_all(x_scale: float, w_scales: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scales = np.full_like(w_scales, x_scale * w_scales.max())
    return scales, np.rint(bias / scales)


BIAS_SCALE = Build(
    name="qdq.bias_scale",
    chapter=CHAPTER,
    title="The scale of a bias",
    level=1,
    minutes=5,
    reference=bias_scale,
    cases=_bias_cases,
    rtol=1e-9,
    hints=(
        "what is one unit of a sum of (code of x)·(code of w) worth? The bias is counted in the same unit.",
        "the scale is x_scale · w_scales, one for each channel; codes are np.rint(bias / scale), in 32 bits.",
    ),
    mistakes=(
        Mistake("That is the weights' scale. The sum is in S_x·S_w.", _at_scale(lambda x, w: w)),
        Mistake("That is the input's scale. The sum is in S_x·S_w.", _at_scale(lambda x, w: np.full_like(w, x))),
        Mistake("You kept the bias in 8 bits. It has 32.", _eight_bits),
        Mistake("You cut off the fraction. Round to the nearest.", _truncated),
        Mistake("You took one scale for all channels. Each has its own S_w.", _one_for_all),
    ),
)


def shared_scales(ranges: Mapping[str, tuple[float, float]], limit: float) -> list[str]:
    """Tensors that lose more than `limit` dB, 20·log₁₀(S_shared/S_own), if one scale must hold all of `ranges`."""
    shared = max(high for _, high in ranges.values()) - min(low for low, _ in ranges.values())
    return [t for t, (low, high) in ranges.items() if high > low and 20 * np.log10(shared / (high - low)) > limit]


def _shared_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield {"ranges": {"boxes": (0.0, 320.0), "scores": (0.0, 1.0)}, "limit": 20.0}
    yield {"ranges": {"a": (0.0, 4.0), "b": (0.0, 3.0)}, "limit": 6.0}
    yield {"ranges": {"a": (0.0, 6.0), "b": (0.0, 2.0)}, "limit": 6.0}
    yield {"ranges": {"a": (-6.0, 1.0), "b": (-1.0, 1.0)}, "limit": 6.0}
    yield {"ranges": {"a": (-5.0, 0.0), "b": (0.0, 5.0)}, "limit": 5.0}
    yield {"ranges": {"a": (0.0, 8.0), "b": (0.0, 8.0), "empty": (0.0, 0.0)}, "limit": 6.0}
    for count in (3, 6):
        ends = rng.exponential(4, (count, 2)).round(3)
        yield {"ranges": {f"t{k}": (-float(a), float(b)) for k, (a, b) in enumerate(ends)}, "limit": 4.0}


def _losing(cost: Callable[..., float]) -> Callable[..., list[str]]:
    """A wrong `shared_scales` with another loss, of (low, high, all ranges), in dB."""
    return lambda ranges, limit: [t for t, ends in ranges.items() if cost(*ends, list(ranges.values())) > limit]


def _db(shared: float, own: float, factor: float = 20) -> float:
    return factor * float(np.log10(shared / own)) if own > 0 else 0.0


def _union(ends: list[tuple[float, float]]) -> float:
    return max(high for _, high in ends) - min(low for low, _ in ends)


def _others(ranges: Mapping[str, tuple[float, float]], limit: float) -> list[str]:
    return [t for t in ranges if t not in shared_scales(ranges, limit)]


SHARED_SCALES = Build(
    name="qdq.shared_scales",
    chapter=CHAPTER,
    title="Who should not share a scale",
    level=2,
    minutes=10,
    reference=shared_scales,
    cases=_shared_cases,
    hints=(
        "one scale must hold the lowest low and the highest high. How much longer is its step?",
        "shared = max of highs − min of lows; a step k times as long costs 20·log₁₀(k) dB; 0 … 0 loses nothing.",
    ),
    mistakes=(
        Mistake("That is 10·log₁₀. Noise goes with the square of the step: 20·log₁₀.", _losing(
            lambda low, high, ends: _db(_union(ends), high - low, 10))),
        Mistake("You compared upper ends only. A range has a lower end too.", _losing(
            lambda low, high, ends: _db(max(h for _, h in ends), high))),
        Mistake("The shared range is not the longest one: it goes from the lowest low to the highest high.", _losing(
            lambda low, high, ends: _db(max(h - a for a, h in ends), high - low))),
        Mistake("The shared range is not the sum of all: it goes from the lowest low to the highest high.", _losing(
            lambda low, high, ends: _db(sum(h - a for a, h in ends), high - low))),
        Mistake("You compared a ratio with the limit. Make it dB first: 20·log₁₀.", _losing(
            lambda low, high, ends: _union(ends) / (high - low) if high > low else 0)),
        Mistake("Those are the ones that lose less than the limit.", _others),
        Mistake("0 … 0 is exact under every scale: it loses nothing.", _losing(
            lambda low, high, ends: _db(_union(ends), high - low) if high > low else np.inf)),
    ),
)  # fmt: skip

BUILDS = [INSERT, BIAS_SCALE, SHARED_SCALES]
