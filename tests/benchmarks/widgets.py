"""How soon a widget answers: ours, Matplotlib inline under `interact`, a PNG in an Image widget, in one browser.

    python tests/benchmarks/widgets.py [--repeat 3] [--steps 40]

The same histogram in all three, one notebook, one kernel; the widgets take turns. Latency is from a key's arrival in
the page to the first animation frame that shows the kernel's answer. Frames are different answers shown while an end
is dragged for two seconds; a blank frame is one in which the picture is not there. Median (lowest–highest) over rounds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import browser as harness

COMMON = """
import gc, io, time
import ipywidgets as w, matplotlib.pyplot as plt, numpy as np, psutil
from helpers import calibrate, plot, widgets
from helpers.affine import choose_qparams
h = calibrate.Histogram().update(np.random.default_rng(0).standard_normal(200_000).astype(np.float32))
low, high = calibrate.minmax(h)
def draw(rmax):
    fig, ax = plt.subplots(figsize=(8, 2.6))
    ax.stairs(h.counts, h.edges, fill=True); ax.set_yscale("log"); ax.axvspan(low, rmax, alpha=0.3)
    clipping, rounding = calibrate.expected_error(h, choose_qparams(low, rmax))
    ax.set_title(f"{clipping:.3g} + {rounding:.3g}")
    return fig
slider = lambda: w.FloatSlider(high, min=0.5, max=high, step=(high - 0.5) / 300, layout=w.Layout(width="700px"))
"""
OURS = "tune = widgets.tune_range(h)\ntune"
INLINE = "def show(rmax):\n    draw(rmax); plt.show()\nw.interact(show, rmax=slider());"
IMAGE = """
image, s = w.Image(layout=w.Layout(height="280px")), slider()
def redraw(_=None):
    fig, out = draw(s.value), io.BytesIO(); fig.savefig(out, dpi=100); plt.close(fig); image.value = out.getvalue()
s.observe(redraw, "value"); redraw()
w.VBox([s, image])
"""
MEMORY = """
before = psutil.Process().memory_info().rss
for k in range(20_000):
    tune.canvas.set_state({"asked": {"rmin": low, "rmax": 0.5 + k % 97 / 50, "seq": k, "done": k % 50 == 49}})
    time.sleep(0.001)  # the server lets 1000 messages a second through
gc.collect(); print((psutil.Process().memory_info().rss - before) / 1e6)
"""
WIDGETS = {  # cell, what takes keys and the mouse, what shows the answer
    "**tune_range** (anywidget, canvas)": (1, "[data-handle=rmax]", "(e => e && e.dataset.seq)", ".tune-range canvas"),
    "Matplotlib inline, `interact`": (2, ".noUi-handle", "(e => e && e.complete && e.naturalWidth && e.src)", "img"),
    "PNG in an `Image`": (3, ".noUi-handle", "(e => e && e.complete && e.naturalWidth && e.src)", "img"),
}
WATCH = """([cell, target, shown, signature]) => {
    const root = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[cell], sign = eval(signature);
    const now = () => sign(root.querySelector('.jp-OutputArea ' + shown));
    window.watch = { asked: [], seen: [], blank: 0, stop: false };
    let last = now();
    root.addEventListener('keydown', () => window.watch.asked.push(performance.now()), { capture: true });
    const look = () => {
        const s = now();
        if (!s) window.watch.blank++;
        else if (s !== last) { last = s; window.watch.seen.push(performance.now()); }
        if (!window.watch.stop) requestAnimationFrame(() => setTimeout(look)); // after the frame's own drawing
    };
    look();
}"""


def measure(book, steps: int, cell: int, target: str, signature: str, shown: str) -> dict[str, float]:
    page = book.page
    page.evaluate(f"() => {{ window.jupyterapp.shell.currentWidget.content.activeCellIndex = {cell}; }}")
    handle = page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(target).first
    handle.scroll_into_view_if_needed()
    page.evaluate(WATCH, [cell, target, shown, signature])
    handle.focus()
    latencies = []
    for k in range(steps):
        count = page.evaluate("window.watch.seen.length")
        page.keyboard.press("ArrowLeft" if k < steps // 2 else "ArrowRight")
        page.wait_for_function(f"window.watch.seen.length > {count}", timeout=5000, polling=20)
        latencies.append(page.evaluate(f"window.watch.seen[{count}] - window.watch.asked.at(-1)"))
        page.wait_for_timeout(60)
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + min(box["height"] / 2, 60)
    page.mouse.move(x, y)
    page.mouse.down()
    count, start, k = page.evaluate("window.watch.seen.length"), time.perf_counter(), 0
    while time.perf_counter() - start < 2:
        page.mouse.move(x - 2 * (abs(k % 200 - 100)), y)
        k += 1
        page.wait_for_timeout(5)
    frames = (page.evaluate("window.watch.seen.length") - count) / (time.perf_counter() - start)
    page.mouse.up()
    page.wait_for_timeout(800)
    blank = page.evaluate("() => { window.watch.stop = true; return window.watch.blank; }")
    return {
        "p50": statistics.median(latencies),
        "p95": statistics.quantiles(latencies, n=20)[-1],
        "fps": frames,
        "blank": blank,
    }


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    rounds: dict[str, list] = {name: [] for name in WIDGETS}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        folder = Path(folder)
        name = harness.write(folder, "widgets.ipynb", COMMON, OURS, INLINE, IMAGE, "'memory'")
        with harness.lab(folder) as address:
            book = harness.Notebook(harness.launch(playwright), address(name))
            book.run_all()
            book.page.wait_for_timeout(2000)
            for _ in range(args.repeat):
                for widget, how in WIDGETS.items():
                    rounds[widget].append(measure(book, args.steps, *how))
            last = "window.jupyterapp.shell.currentWidget.content"
            book.page.evaluate(
                f"s => {{ {last}.activeCellIndex = 4; {last}.activeCell.model.sharedModel.setSource(s); }}", MEMORY
            )
            book.run("notebook:run-cell")
            output = book.page.locator(".jp-Notebook .jp-CodeCell").nth(4).locator(".jp-OutputArea-output").last
            areas = "[...document.querySelectorAll('.jp-CodeCell .jp-OutputArea')]"
            shown = f"() => {areas}.at(-1).innerText.match(/\\d\\.\\d/)"
            book.page.wait_for_function(shown, timeout=300_000)
            grown = float(output.inner_text())
    print("| | p50, ms | p95, ms | frames a second, dragged | blank frames |")
    print("|---|---|---|---|---|")
    middle = {}
    for widget, found in rounds.items():
        cells = []
        for key in ("p50", "p95", "fps", "blank"):
            values = [f[key] for f in found]
            middle[widget, key] = statistics.median(values)
            cells.append(f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})")
        print(f"| {widget} | {' | '.join(cells)} |")
    ours, inline, _ = WIDGETS
    ratios = [b["p50"] / a["p50"] for a, b in zip(rounds[ours], rounds[inline], strict=True)]
    print(f"\ninline's p50 is {statistics.median(ratios):.1f} × ours ({min(ratios):.1f}–{max(ratios):.1f});", end=" ")
    print(f"the kernel grew by {grown:.1f} MB over 20 000 steps of tune_range")


if __name__ == "__main__":
    main()
