"""What a target is: where a graph runs, and what is proved about it."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import onnx
import onnxruntime as ort

import helpers.targets as package
from helpers.graph import Model, ModelLike
from helpers.integer import Simulator


class Target:
    """One place where a graph runs. A file of this folder with a `TARGET`, an instance of a subclass, is all it takes.

    `name` is what `load` is asked for, `label` the row of a table of an INT8 graph on it, `where` its name in a
    sentence. `dtypes` are the activations that it computes in integers. `order` ranks targets that compute the same
    codes: the lowest is the quickest.
    `npu_codes`: its codes are those of the NPU, rounding included. `runs_floats`: it computes a graph as written,
    quantized or not, and shows any tensor. `proves_placement`: nodes could land elsewhere, so that it must be shown
    that none did. `quickly`: options of `open` that are quicker and hardly change the numbers. `full_power`: those
    under which its time is measured.

    >>> get("cpu").runs_floats, get("cpu").npu_codes
    (True, False)
    """

    name: ClassVar[str]
    label: ClassVar[str]
    where: ClassVar[str]
    order: ClassVar[int]
    dtypes: ClassVar[frozenset[str]]
    npu_codes: ClassVar[bool] = False
    runs_floats: ClassVar[bool] = False
    proves_placement: ClassVar[bool] = False
    quickly: ClassVar[dict[str, Any]] = {}
    full_power: ClassVar[dict[str, Any]] = {}

    def unavailable(self) -> str | None:
        """Why this machine does not have it, as a sentence; None where it does."""
        return None

    def emulated(self) -> bool:
        """Whether another processor imitates it here, so that its codes count and its time says nothing."""
        return False

    def describe(self) -> str:
        """One line that says what it is here."""
        raise NotImplementedError

    def open(self, model: Model | Path, **options: Any) -> ort.InferenceSession:
        """A session with `run`, `get_inputs`, `get_outputs` and `get_modelmeta`, as ONNX Runtime's.

        The model runs whole, or RuntimeError names the node that does not. Raises ValueError for an unknown option.
        """
        raise NotImplementedError

    def refused(self, model: Model | Path) -> list[str]:
        """Names of the nodes that this target would leave to the CPU, of a graph that does not open whole.

        Raises RuntimeError where the graph does not compile even so, which names no node.
        """
        return []

    def simulator(self, model: ModelLike) -> Simulator | None:
        """The target's arithmetic tensor by tensor, where it is one of ours."""
        return None


@functools.cache
def registry() -> dict[str, Target]:
    """{name: Target} of every file of this folder that holds a TARGET, in order of `order`.

    >>> list(registry())[:2]
    ['cpu', 'integer']
    """
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    found = [module.TARGET for module in modules if hasattr(module, "TARGET")]
    return {target.name: target for target in sorted(found, key=lambda t: t.order)}


def get(name: str) -> Target:
    """The target of that name; raises ValueError that lists what this machine has.

    >>> get("cpu").where
    'CPU'
    """
    if name not in registry():
        raise ValueError(f"target '{name}' is unknown; this machine has: {', '.join(targets())}.")
    return registry()[name]


def targets() -> dict[str, str]:
    """The targets that `load` accepts on this machine, each with one line that says what it is.

    >>> targets()["cpu"].startswith("ONNX Runtime")
    True
    """
    return {name: target.describe() for name, target in registry().items() if target.unavailable() is None}


def load(model: ModelLike, target: str = "cpu", *, optimize: bool = False, **options: Any) -> ort.InferenceSession:
    """Open an ONNX model on one target, whole, or fail: no node moves elsewhere in silence.

    `cpu` keeps the graph as written (`optimize=True` lets ONNX Runtime fuse, which changes QDQ results; `threads` and
    `arena` set what it takes of the machine). `htp` compiles it for the NPU, or Qualcomm's emulator of Snapdragon X
    Elite; its `options` are the QNN provider's, as strings: `soc_model` or `htp_arch` ask for another Hexagon.
    `integer` is the HTP's arithmetic in NumPy; what it returns runs like a session but has no `placement`.

    Raises FileNotFoundError (no such file), ValueError (not a model, unknown target, option or value, a context
    for another Hexagon) and RuntimeError (the target is not here, refuses part of the graph: the node is named, or is
    emulating another Hexagon in a session that is still open).
    Source: ONNX Runtime, "QNN Execution Provider" and "Plugin execution providers".

    >>> from helpers import assets
    >>> load(assets.model(), "cpu").get_inputs()[0].shape
    [1, 3, 320, 320]
    """
    if isinstance(model, onnx.ModelProto):
        model = Model(model)
    if not isinstance(model, Model):
        model = Path(model)
        if not model.is_file():
            raise FileNotFoundError(f"{model}: no such file; give the path of an ONNX model.")
    chosen = get(target)
    reason = chosen.unavailable()
    if reason:
        raise RuntimeError(reason)
    if optimize:
        options["optimize"] = True
    return chosen.open(model, **options)


def quickest(wanted: Callable[[Target], bool]) -> Target | None:
    """The quickest target of this machine that is `wanted`, such as one that computes the NPU's codes; None if none is.

    >>> quickest(lambda target: target.npu_codes and "uint8" in target.dtypes).name
    'integer'
    """
    here = targets()
    return next((target for target in registry().values() if target.name in here and wanted(target)), None)
