"""The preflight: what the HTP will say of a model, before any calibration.

`check` prepares a model, quantizes it with made-up ranges (one seeded random input: enough to compile, not to judge)
and compiles it on a target that proves where nodes run: the HTP, or Qualcomm's emulator of it. What it says:

- `changes`: what `prepare` changed by itself, a line each;
- `refusals`: node by node what the target does not take, why, and the remedy (`remedies.REMEDIES`);
- `hard`: tensors that will be hard in 8 bits, and places where the HTP is known to compute something else;
- `nodes`, `whole`: how many nodes the prepared graph has, and whether the target took every one of them.

Where no target here proves a placement (macOS), `whole` is None and what operators, ranks and types alone tell is
said: a node that the table of remedies names is listed as one that the HTP refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from helpers import calibrate, targets
from helpers.calibrate import Histogram
from helpers.graph import Model, ModelLike
from helpers.qdq.hard_spots import HardSpot, hard_spots
from helpers.qdq.htp_faults import htp_faults
from helpers.qdq.input_shapes import Shapes
from helpers.qdq.mixed_scales import mixed_scales
from helpers.qdq.preparation import prepare, random_feed
from helpers.qdq.refusals import named, refused
from helpers.qdq.remedies import LARGEST_RANK, NEEDS_FORM, REMEDIES, remedy


class Refusal(NamedTuple):
    """A node that the target does not take: its name, operator, first output, why, and what to do."""

    node: str
    op: str
    output: str
    why: str
    remedy: str


class Preflight(NamedTuple):
    """What `check` found; `whole` is None where nothing here can tell, `said` is the compiler's own message."""

    model: str
    target: str
    nodes: int
    whole: bool | None
    changes: list[str]
    refusals: list[Refusal]
    hard: list[HardSpot]
    said: str

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON takes it: lists of dicts in the place of NamedTuples."""
        lists = {name: [item._asdict() for item in getattr(self, name)] for name in ("refusals", "hard")}
        return self._asdict() | lists


def check(model: ModelLike, shapes: Shapes | None = None) -> Preflight:
    """Say, before any calibration, what of a float model the HTP takes in 8 bits, what it refuses, and what is hard.

    Raises as `prepare` and `calibrate.observe` do: the module's docstring says what the fields mean.

    >>> from onnx.parser import parse_model
    >>> net = parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Softsign(x) }')
    >>> [(r.op, r.remedy) for r in check(net).refusals]
    [('Softsign', 'write it as x / (1 + Abs(x))')]
    """
    made = prepare(model, shapes)
    graph = named(made.model)
    feed = random_feed(graph)
    histograms = calibrate.observe(graph, [feed])
    target = targets.quickest(lambda t: t.proves_placement)
    ranges = calibrate.ranges(histograms, "minmax")
    if target is None:
        nodes, said, where = _suspects(graph), "", "nothing here: this machine has no QNN, so nothing was compiled"
    else:
        nodes, said = refused(graph, ranges, target)
        where = target.describe()
    refusals = [Refusal(n.name, n.op_type, n.output[0], *remedy(graph, n)) for n in nodes]
    whole = None if target is None else not said
    hard = [*_wrong_on_the_htp(graph), *_mixed(graph, histograms), *hard_spots(graph, feed)]
    return Preflight(str(Model.of(made.model)), where, len(graph.nodes), whole, made.changes, refusals, hard, said)


def _wrong_on_the_htp(graph: Model) -> list[HardSpot]:
    """Places where the HTP is known to compute something else than the graph says."""
    why = "the HTP leaves what came from {} at the scale of this Concat, not at that of '{}' behind it"
    return [HardSpot(f.inner, why.format(", ".join(f.functions), f.outer), f.remedy) for f in htp_faults(graph)]


def _mixed(graph: Model, histograms: Mapping[str, Histogram]) -> list[HardSpot]:
    """Inputs of a Concat or Add that its one scale loses."""
    why = "{} '{}' has one scale, at which this input keeps {:.0f} dB, and {:.0f} at one of its own"
    mend = "cut the graph there or give it 16 bits; `qdq.split_scales` measures which is better"
    return [
        HardSpot(m.input, why.format(m.op, m.output, m.shared_db, m.own_db), mend)
        for m in mixed_scales(graph, histograms)
    ]


def _suspects(graph: Model) -> list:
    """Nodes that the table names whatever their form, or that have too many axes."""
    shapes = graph.shapes
    return [
        node
        for node in graph.nodes
        if (node.op_type in REMEDIES and node.op_type not in NEEDS_FORM)
        or any(len(shapes.get(t, ())) > LARGEST_RANK for t in (*node.input, *node.output))
    ]
