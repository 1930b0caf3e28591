"""Hands on the numbers: ipywidgets over the course's own functions, each a few controls and one picture."""

from __future__ import annotations

import functools
import io

import ipywidgets as w
import numpy as np

from . import calibrate, plot
from .affine import choose_qparams, qrange


def _png(fig) -> bytes:
    buffer = io.BytesIO()
    plot.save(fig, buffer)
    return buffer.getvalue()


def _bind(draw, controls: list, height: int) -> w.VBox:
    """`controls` above one picture, redrawn by `draw(*values)`; its height is fixed, so that nothing jumps."""
    image = w.Image(format="png", layout=w.Layout(width="800px", height=f"{height}px", object_fit="contain"))

    def redraw(_=None):
        image.value = _png(draw(*(c.value for c in controls)))

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    return w.VBox([*controls, image])


def compare(detectors: dict, pictures) -> w.VBox:
    """Two or more detectors on one picture, side by side; choose the picture and the threshold.

    `detectors` is {title: `vision.Detector`}. Each picture is detected once and kept, so the threshold moves freely.

    >>> from helpers import assets, vision
    >>> box = compare({"FP32": vision.Detector(assets.model())}, assets.images()[:2])
    >>> box.children[-1].value[1:4]
    b'PNG'
    """

    @functools.cache
    def found(index):
        return {title: d.detect(pictures[index], conf=0.05) for title, d in detectors.items()}

    names = next(iter(detectors.values())).names
    style = {"description_width": "80px"}
    wide = w.Layout(width="500px")
    picture = w.IntSlider(0, 0, len(pictures) - 1, description="picture", style=style, layout=wide)
    conf = w.FloatSlider(0.25, min=0.05, max=0.95, step=0.01, description="threshold", style=style, layout=wide)
    return _bind(lambda i, c: plot.detections(pictures[i], found(i), names, c), [picture, conf], 460)


def tune_range(histogram: calibrate.Histogram, dtype: str = "uint8") -> w.VBox:
    """A range to drag over a histogram, or to take from a method, with what it costs: clipping, rounding, SQNR.

    The numbers are `calibrate.expected_error`'s. Raises ValueError on an empty histogram.

    >>> box = tune_range(calibrate.Histogram().update(np.arange(256)))
    >>> box.children[1].value, "0 % clipped" in box.children[3].value
    ((0.0, 255.0), True)
    """
    h = histogram
    low, high = (f(r, 0.0) for f, r in zip((min, max), calibrate.minmax(h), strict=True))
    high = high if low < high else 1.0  # nothing but zeros still needs a slider
    wide = w.Layout(width="800px")
    slider = w.FloatRangeSlider(
        value=(low, high), min=low, max=high, step=(high - low) / 2000, readout_format=".4g", layout=wide
    )
    names = ["minmax", "percentile", "mse", "entropy"]
    method = w.ToggleButtons(options=names, value="minmax", style={"button_width": "90px"})
    dtypes = ["uint8", "int8", "uint16", "int16", "uint4", "int4"]
    kind = w.Dropdown(options=dtypes, value=dtype, layout=w.Layout(width="90px"))
    image, numbers = w.Image(format="png", layout=w.Layout(width="800px", height="260px")), w.HTML()
    fig, ax = plot._figure(height=2.6)
    ax.stairs(h.counts, h.edges, fill=True, fc=plot.GREY, ec=plot.GREY, lw=1)
    ax.set(yscale="log", ylabel="values per bin", xlabel="value of the activation")
    band = ax.axvspan(low, high, color=plot.SKY, alpha=0.4)
    _png(fig)
    fig.set_layout_engine("none")  # laid out once, a redraw takes half the time
    squares = np.diff(h.edges**3) / np.diff(h.edges) / 3
    below = np.append(0, np.cumsum(h.counts))

    def draw(_=None):
        qp = choose_qparams(*slider.value, kind.value)
        left, right = (qp.scale * (code - qp.zero_point) for code in qrange(kind.value))
        first, last = np.interp([left - qp.scale / 2, right + qp.scale / 2], h.edges, below)
        clipping, rounding = calibrate.expected_error(h, qp)
        noise = clipping + rounding
        sqnr = 10 * np.log10(squares @ h.counts / h.n / noise) if noise else np.inf
        numbers.value = (
            f"<b>S</b> = {qp.scale:.4g}, <b>Z</b> = {qp.zero_point}; {100 * (1 - (last - first) / h.n):.3g} % clipped; "
            f"MSE = {clipping:.3g} clipping + {rounding:.3g} rounding; <b>SQNR {sqnr:.1f} dB</b>"
        )
        band.set_x(left)
        band.set_width(right - left)
        image.value = _png(fig)

    def answer():
        keywords = {"dtype": kind.value} if method.value in ("mse", "entropy") else {}
        return getattr(calibrate, method.value)(h, **keywords) if method.value else slider.value

    def choose(_):
        before, slider.value = slider.value, answer()
        if slider.value == before:
            draw()

    def drag(_):
        if slider.value != answer():
            method.value = None  # the range is yours now
        draw()

    method.observe(choose, "value")
    kind.observe(choose, "value")
    slider.observe(drag, "value")
    draw()
    return w.VBox([w.HBox([method, kind]), slider, image, numbers])
