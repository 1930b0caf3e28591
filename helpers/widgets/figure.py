"""A picture below its controls: drawn anew in place, told in words, a plain PNG where no kernel is."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import anywidget
import ipywidgets as w
import traitlets as t
from matplotlib.figure import Figure

from helpers import plot


class Picture(anywidget.AnyWidget):
    """A PNG that changes without a blank frame; `alt` tells it in words.

    It also names the handles of the sliders in its box, which ipywidgets leaves without a name.
    """

    _esm = """
    function name(box) {
        for (const slider of box.querySelectorAll(".noUi-target")) {
            const label = slider.closest(".widget-inline-hbox")?.querySelector(".widget-label")?.textContent;
            const handles = slider.querySelectorAll(".noUi-handle");
            handles.forEach((handle, k) => handle.setAttribute(
                "aria-label", handles.length > 1 ? `${label}, ${["lower", "upper"][k]} end` : label));
        }
    }
    function render({ model, el }) {
        let image = new Image(), waiting = 0;
        el.append(image);
        const show = async () => {
            const next = new Image(), value = model.get("value");
            next.alt = model.get("alt");
            next.style.cssText = `width: 100%; height: ${model.get("height")}px; object-fit: contain`;
            next.src = URL.createObjectURL(new Blob([value], { type: "image/png" }));
            await next.decode();
            URL.revokeObjectURL(next.src);
            if (value !== model.get("value")) return;  // a later one is on its way
            image.replaceWith(next);
            image = next;
        };
        model.on("change:value", show);
        show();
        const seen = new MutationObserver(() => name(el.closest(".widget-vbox")));
        const attached = () => {
            const box = el.closest(".widget-vbox");
            if (!box) { waiting = requestAnimationFrame(attached); return; }
            seen.observe(box, { childList: true, subtree: true });
            name(box);
        };
        attached();
        return () => { cancelAnimationFrame(waiting); seen.disconnect(); model.off("change:value", show); };
    }
    export default { render };
    """
    value = t.Bytes().tag(sync=True)
    alt = t.Unicode().tag(sync=True)
    height = t.Int().tag(sync=True)

    def show(self, fig: Figure) -> None:
        """Show a Matplotlib figure; the words in it become `alt`."""
        words = [fig.get_suptitle()]
        for ax in fig.axes:
            words += [ax.get_title(), *(text.get_text() for text in ax.texts)]
        buffer = io.BytesIO()
        plot.save(fig, buffer)
        with self.hold_sync():
            self.alt, self.value = ", ".join(s.replace("\n", " ") for s in words if s.strip()), buffer.getvalue()


class InteractiveFigure(w.VBox):
    """What to try, `controls`, and the picture that `draw(*values)` makes of them, at a fixed height: nothing jumps.

    Where there is no kernel, as on GitHub, the picture alone is shown.

    >>> slider = w.IntSlider(1, 0, 3, description="bits")
    >>> draw = lambda bits: plot.pipeline({"steps": str(2**bits)}, "a title")
    >>> box = InteractiveFigure("Try more bits.", draw, [slider], 180)
    >>> bytes(box.picture.value[1:4]), box.picture.alt
    (b'PNG', 'a title, 2, steps')
    """

    def __init__(self, tip: str, draw: Callable[..., Figure], controls: Sequence[w.ValueWidget], height: int):
        self.picture = Picture(height=height, layout=w.Layout(max_width="800px", height=f"{height}px"))
        super().__init__([w.HTML(f"<i>{tip}</i>"), *controls, self.picture])

        def redraw(_=None):
            self.picture.show(draw(*(c.value for c in controls)))

        for control in controls:
            control.style = {"description_width": "80px"}
            control.layout = w.Layout(width="500px", max_width="98%")
            control.observe(redraw, "value")
        redraw()

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | {"image/png": self.picture.value}
