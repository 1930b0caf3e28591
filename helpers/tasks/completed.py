"""A cut model that answers as the whole one did: what was cut off runs behind it, in floats, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers import targets
from helpers.graph import Feed, ModelLike
from helpers.graph.split import unpacked


class CompletedSession:
    """A session on any target with the float rest of `graph.split_graph` behind it; the rest of it is the session's.

    `cut_outputs` are the outputs before the rest, those of the quantized graph.
    """

    def __init__(self, session: Any, rest: Any):
        self._session, self._rest = session, rest
        self.cut_outputs = [o.name for o in session.get_outputs()]

    def run(self, names: list[str] | None, feed: Feed) -> list[np.ndarray]:
        """The whole model's outputs."""
        made = dict(zip(self.cut_outputs, self._session.run(None, feed), strict=True))
        read = {i.name: made[i.name] for i in self._rest.get_inputs()}
        return self._rest.run(names, read)

    def get_outputs(self) -> list[Any]:
        """The whole model's, with names and shapes."""
        return self._rest.get_outputs()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def load_completed(model: ModelLike, target: str = "cpu", **options: Any) -> Any:
    """`targets.load`; of a model that carries a float rest, with the rest behind it.

    >>> from helpers import assets
    >>> [output.name for output in load_completed(assets.model()).get_outputs()]
    ['output0']
    """
    session = targets.load(model, target, **options)
    rest = unpacked(session.get_modelmeta().custom_metadata_map, str(model))
    return session if rest is None else CompletedSession(session, targets.load(rest))
