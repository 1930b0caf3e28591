"""A range under your hand: both ends dragged in the histogram, and what the range costs at each step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as w
import numpy as np
import traitlets as t

from helpers import calibrate, plot
from helpers.affine import QParams, choose_qparams, fake_quantize, qrange
from helpers.calibrate import Histogram, RangeCost
from helpers.widgets.frame import Frame, png

DTYPES = ("uint8", "int8", "uint16", "int16", "uint4", "int4")
_SIDE = 96  # pixels of a heat map


def _map(sample: np.ndarray | None) -> np.ndarray | None:
    """The channel of C×H×W (or 1×C×H×W, H×W) that holds the most, at most 96 × 96 of its values."""
    if sample is None:
        return None
    x = np.asarray(sample, np.float32)
    x = x.reshape(-1, *x.shape[-2:]) if x.ndim > 2 else x[None]
    x = x[np.abs(x).mean((1, 2)).argmax()]
    return x[:: -(-x.shape[0] // _SIDE), :: -(-x.shape[1] // _SIDE)]


def _view(costs: RangeCost, rmin: float, rmax: float) -> dict[str, Any]:
    """What one view of the histogram shows: rmin…rmax with zero inside and some room, and the bars in it."""
    low, high = min(rmin, 0.0), max(rmax, 0.0)
    room = 0.06 * ((high - low) or 1.0)
    return {"low": low - room, "high": high + room, "bars": costs.bars(low - room, high + room)}


def _maps(x: np.ndarray, qp: QParams, unit: float) -> dict[str, Any]:
    """H×W values before and after, and their difference from −unit to unit, as three maps of one byte a value."""
    after = fake_quantize(x, qp)
    low, high = float(x.min()), float(x.max())
    shades = [255 * (v - low) / ((high - low) or 1) for v in (x, np.clip(after, low, high))]
    shades.append(127.5 + 127.5 * np.clip((after - x) / unit, -1, 1))
    return {"shape": x.shape, "unit": unit, "maps": np.rint(np.stack(shades)).astype(np.uint8).tobytes()}


class _Canvas(anywidget.AnyWidget):
    """The part that moves while dragging: JavaScript draws, the numbers come from the kernel."""

    _esm, _css = (Path(__file__).with_suffix(end) for end in (".js", ".css"))
    tensor = t.Dict().tag(sync=True)  # what changes with the tensor: bars of both views, marks of the methods
    step = t.Dict().tag(sync=True)  # what changes with the range
    asked = t.Dict().tag(sync=True, echo_update=False)  # from the hand: rmin, rmax, seq, done


class TuneRange(w.VBox):
    """A range to drag over a histogram, or to take from a method, with what it costs: clipping, rounding, SQNR.

    Traits: `rmin`, `rmax`, `dtype`, `method` ("" by hand), and `settled`, which counts up when the hand rests.
    `numbers` are `calibrate.RangeCost`'s, `qparams` the scale and zero point. `sample`, an activation H×W or C×H×W,
    is shown before, after and as their difference. Raises ValueError on an empty histogram.

    >>> tune = TuneRange(calibrate.Histogram().update(np.arange(256)))
    >>> (tune.rmin, tune.rmax), tune.numbers["clipped"]
    ((0.0, 255.0), 0.0)
    >>> tune.rmax = 127.5; tune.qparams.scale, tune.method
    (0.5, '')
    """

    rmin, rmax = t.Float(), t.Float(1.0)
    dtype, method = t.Unicode("uint8"), t.Unicode("minmax")
    settled = t.Int(0)

    def __init__(self, histogram: Histogram, dtype: str = "uint8", sample: np.ndarray | None = None):
        self._ready, self._seq = False, 0
        self._drawn: tuple | None = None
        self._past: list[tuple[float, float, str, str]] = []
        self._methods = w.ToggleButtons(
            options=[(method.label, name) for name, method in calibrate.METHODS.items()],
            value=None,
            style={"button_width": "auto"},
        )
        short = {"layout": w.Layout(width="190px"), "style": {"description_width": "60px"}}
        self._dtype = w.Dropdown(options=DTYPES, value=dtype, description="dtype", **short)
        self._low = w.FloatText(description="rmin", step=0.01, continuous_update=False, **short)
        self._high = w.FloatText(description="rmax", step=0.01, continuous_update=False, **short)
        self._undo = w.Button(description="undo", tooltip="back to the range before", layout=w.Layout(width="80px"))
        self.canvas = _Canvas()
        self.fields = w.HBox([self._dtype, self._low, self._high, self._undo], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([self._methods, self.canvas, self.fields, Frame()], layout=w.Layout(max_width="800px"))
        self._connect()
        self.show(histogram, dtype, sample)

    def _connect(self) -> None:
        self.canvas.observe(self._hand, "asked")
        self.canvas.on_msg(lambda _, message, __: {"home": self.home, "undo": self.undo}[message["do"]]())
        self._methods.observe(self._choose, "value")
        self._dtype.observe(lambda change: setattr(self, "dtype", change["new"]), "value")
        for field in (self._low, self._high):
            field.observe(self._typed, "value")
        self._undo.on_click(lambda _: self.undo())
        self.observe(self._draw, ["rmin", "rmax"])
        self.observe(self._another_dtype, "dtype")

    @property
    def qparams(self) -> QParams:
        """Scale and zero point of the range as it is."""
        return choose_qparams(self.rmin, self.rmax, self.dtype)

    def show(
        self,
        histogram: Histogram,
        dtype: str | None = None,
        sample: np.ndarray | None = None,
        rmin: float | None = None,
        rmax: float | None = None,
    ) -> None:
        """Another tensor in the same widget; without `rmin` and `rmax` its range is `minmax`'s.

        Raises ValueError on an empty histogram.
        """
        self._ready = False
        self.costs, self._sample, self._past = RangeCost(histogram), _map(sample), []
        self._unit = float(choose_qparams(*calibrate.minmax(histogram), "uint8").scale)  # of the map of differences
        self.dtype = dtype or self.dtype
        low, high = calibrate.minmax(histogram)
        self.method, self._home = ("minmax", "minmax") if rmin is None and rmax is None else ("", "minmax")
        self._send_tensor()
        self._ready, self._drawn = True, None
        high = high if low < high else low + 1.0  # nothing but one value still needs a range
        self._move(low if rmin is None else rmin, high if rmax is None else rmax)

    def _send_tensor(self) -> None:
        h = self.costs.h
        views = [_view(self.costs, *calibrate.minmax(h)), _view(self.costs, *calibrate.percentile(h, 99.9))]
        self._marks = {name: method(h, self.dtype) for name, method in calibrate.METHODS.items()}
        methods = {name: {"label": m.label, "colour": m.colour} for name, m in calibrate.METHODS.items()}
        self.canvas.tensor = {"views": views, "marks": self._marks, "methods": methods}

    @t.validate("rmin", "rmax")
    def _in_order(self, proposal: Mapping[str, Any]) -> float:
        end, value = proposal["trait"].name, proposal["value"]
        other = self.rmax if end == "rmin" else self.rmin
        crossed = value > other if end == "rmin" else value < other
        if crossed:
            text = f"{end} = {value:g} would cross the other end, {other:g}"
            raise t.TraitError(f"{text}; set that one first, or both with `show`.")
        return value

    def _move(self, low: float, high: float, seq: int | None = None) -> None:
        """Both ends at once: nobody sees half of a step, and it is drawn and sent once."""
        self._seq = self._seq if seq is None else seq
        with self.hold_trait_notifications():
            self.rmin, self.rmax = sorted((float(low), float(high)))
        self._draw()

    def _draw(self, _=None) -> None:
        state = self.rmin, self.rmax, self.dtype, self._seq, self.costs
        if not self._ready or state == self._drawn:
            return
        self._drawn = state
        if self.method and (self.rmin, self.rmax) != self._marks[self.method]:
            self.method = ""  # the range is yours now
        qp = self.qparams
        self.numbers = self.costs(qp)
        step: dict[str, Any] = {"rmin": self.rmin, "rmax": self.rmax, "seq": self._seq, "codes": qrange(self.dtype)}
        step |= self.numbers
        if not np.isfinite(self.numbers["sqnr_db"]):
            step["sqnr_db"] = None  # JSON knows no infinity
        if self._sample is not None:
            step |= _maps(self._sample, qp, self._unit)
        self.canvas.step = step
        self._fields()

    def _fields(self) -> None:
        self._ready = False  # the fields follow, they do not ask
        self._low.value, self._high.value = float(f"{self.rmin:.5g}"), float(f"{self.rmax:.5g}")
        self._methods.value, self._dtype.value = self.method or None, self.dtype
        self._ready = True

    def _hand(self, change) -> None:
        asked = change["new"]
        if asked.get("start"):
            self._remember()
        self._move(asked["rmin"], asked["rmax"], asked["seq"])
        if asked.get("done"):
            self.settled += 1

    def _remember(self, dtype: str | None = None) -> None:
        self._past = [*self._past[-99:], (self.rmin, self.rmax, self.method, dtype or self.dtype)]

    def _choose(self, change) -> None:
        if self._ready and change["new"]:
            self._remember()
            self.method = self._home = change["new"]
            self._move(*self._marks[self.method])
            self.settled += 1

    def _typed(self, change) -> None:
        if self._ready:  # the other field shows fewer digits than its end has
            self._remember()
            if change.owner is self._low:
                self._move(change.new, self.rmax)
            else:
                self._move(self.rmin, change.new)
            self.settled += 1

    def _another_dtype(self, change) -> None:
        if self._ready:
            self._remember(change["old"])
            self._send_tensor()  # some methods' marks depend on it
            self._move(*self._marks.get(self.method, (self.rmin, self.rmax)))
            self.settled += 1

    def home(self) -> None:
        """Back to the range of the method that was chosen last."""
        self._remember()
        self.method = self._home
        self._move(*self._marks[self._home])
        self.settled += 1

    def undo(self) -> None:
        """Back to the range before; nothing where there is none."""
        if self._past:
            low, high, method, dtype = self._past.pop()
            if dtype != self.dtype:
                self._ready, self.dtype = False, dtype
                self._send_tensor()
                self._ready = True
            self.method = method
            self._move(low, high)
            self._fields()
            self.settled += 1

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs) or {}
        qp, n = self.qparams, self.numbers
        title = f"S = {qp.scale:.4g}, Z = {qp.zero_point}: {n['clipped']:.3g} % clipped, SQNR {n['sqnr_db']:.1f} dB"
        figure = plot.ranges(self.costs.h, {self.method or "by hand": (n["left"], n["right"])}, title)
        return bundle | {"image/png": png(figure)}
