"""The widgets in a real browser: what a hand does, what the eye gets, and that nothing is asked of the network."""

import ast
import contextlib
import importlib.util
import os
import shutil

import browser as harness
import numpy as np
import pytest

from helpers import calibrate, session

TUNE = """
import numpy as np
from helpers import calibrate, widgets
x = np.random.default_rng(0).standard_normal((4, 64, 64)).astype(np.float32)
tune = widgets.tune_range(calibrate.Histogram().update(x), sample=x)
tune
"""


BENCH = """
from helpers import assets, widgets
ui = widgets.workbench(assets.model(), assets.images("validation")[:3], assets.images("calibration")[:4])
ui
"""

KEYS = """
import numpy as np, ipywidgets as w
from helpers import calibrate, widgets
tune = widgets.tune_range(calibrate.Histogram().update(np.arange(9.0)))
w.VBox([tune, widgets.follow(lambda *at: {"code": str(at)}, np.zeros((2, 5, 5)))])
"""
MARKUP = """<img src=x onerror="window.hacked=1">.onnx"""
EVIL = f"""
import shutil
from helpers import assets, plot, vision, widgets, workbench
from helpers.workbench import report
evil, few = shutil.copy(assets.model(), {MARKUP!r}), assets.images("validation")[:2]
vision.evaluate(evil, few)
box = widgets.compare({{evil: vision.Detector(evil)}}, few)
ui = workbench.workbench(evil, few, few)
ui.wait(), ui._failed(ValueError(evil)), plot.sqnr_by_depth({{evil: {{evil: 1.0}}}}, evil)
"""


@pytest.fixture(scope="module")
def chromium():
    try:
        if importlib.util.find_spec("playwright") is None:
            raise LookupError("playwright is not installed: run the tests as the README says.")
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            yield harness.launch(playwright)
    except LookupError as e:
        if os.environ.get("CI"):
            pytest.fail(str(e))
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    """Open a notebook by name in one JupyterLab for all tests."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(harness.NOTEBOOKS, folder, dirs_exist_ok=True)
    harness.write(folder, "tune.ipynb", TUNE, "tune.rmin, tune.rmax")
    harness.write(
        folder,
        "bench.ipynb",
        BENCH,
        "ui.wait(), ui.tensor.value, ui.tune.rmax, ui.experiment.patched.ranges[ui.tensor.value][1]",
    )
    harness.write(folder, "keys.ipynb", KEYS, "1", "2", "3")
    harness.write(folder, "evil.ipynb", EVIL, "ui", "box", "ui.said.value")
    with harness.lab(folder) as address:
        books = []

        def open_(name, **how):
            books.append(harness.Notebook(chromium, address(name), **how))
            return books[-1]

        yield open_
        for book in books:
            book.close()


@pytest.fixture(scope="module")
def tune(opened):
    book = opened("tune.ipynb")
    book.run_all()
    book.page.wait_for_selector(".tune-range[data-frame]")
    return book


def picture(book) -> bytes:
    return book.page.locator(".tune-range canvas").first.screenshot()


def settle(book) -> None:
    """Wait until the kernel's numbers for the hand's last step are drawn."""
    done = "() => (({asked, seq}) => asked && asked === seq)(document.querySelector('.tune-range').dataset)"
    book.page.wait_for_function(done, timeout=20_000)


def seq(book) -> int:
    return int(book.page.locator(".tune-range").get_attribute("data-seq"))


def value(book, end: str) -> float:
    return float(book.page.locator(f"[data-handle={end}]").get_attribute("aria-valuenow"))


def drag(book, end: str, path: list[int], smoothly: bool = False) -> None:
    """Drag an end along `path`, px from where it is; `smoothly` waits for a frame after each of the steps."""
    box = book.page.locator(f"[data-handle={end}]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    book.page.mouse.move(x, y)
    book.page.mouse.down()
    for dx in path:
        book.page.mouse.move(x + dx, y)
        if smoothly:
            book.page.evaluate("() => new Promise(requestAnimationFrame)")
    book.page.mouse.up()


def kernel(book):
    """What the second cell says now, run again: the kernel's own opinion, after all that was asked of it before."""
    cell = "window.jupyterapp.shell.currentWidget.content.widgets[1].model"
    before = book.page.evaluate(f"() => {cell}.executionCount")
    book.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    book.run("notebook:run-cell")
    answer = f"""n => {{ const last = {cell}.outputs.get({cell}.outputs.length - 1);
        return last?.executionCount > n && last.data['text/plain']; }}"""
    return ast.literal_eval(book.page.wait_for_function(answer, arg=before, timeout=60_000).json_value())


def agree(book) -> None:
    """Wait until the handles stand where the kernel has its range."""
    for end, held in zip(("rmin", "rmax"), kernel(book), strict=True):
        at = "([end, v]) => +document.querySelector(`[data-handle=${end}]`).getAttribute('aria-valuenow') === v"
        book.page.wait_for_function(at, arg=[end, held], timeout=20_000)


def test_the_server_has_no_nagle_and_asks_nothing_of_the_network(tmp_path):
    from jupyter_server.serverapp import ServerApp

    app = ServerApp()
    app.initialize(
        ["--allow-root", "--no-browser", "--port=0", f"--ServerApp.root_dir={tmp_path}"], new_httpserver=False
    )
    assert app.web_app.settings["kernel_websocket_connection_class"].__name__ == "NoDelayWebSocket"
    assert app.config.LabApp.news_url is None and "Never" in app.config.LabApp.check_for_updates_class


@pytest.mark.parametrize("name", harness.WALK)
def test_a_walk_through_the_course_asks_nothing_and_meets_no_error(opened, name):
    book = opened(f"{name}.ipynb")
    assert not book.page.evaluate("window.jupyterapp.shell.currentWidget.context.model.dirty"), "asks to be saved"
    book.run_all(timeout=240)
    assert book.page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts() == []
    book.page.wait_for_selector(harness.WALK[name])
    book.page.locator(harness.WALK[name]).first.scroll_into_view_if_needed()
    assert nameless(book) == []
    assert book.page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts() == []
    assert book.page.locator(".jp-RenderedText[data-mime-type*=error]").count() == 0
    assert book.problems == []
    if name == "04_calibration":
        before = value(book, "rmax")
        drag(book, "rmax", [-40, -80])
        settle(book)
        assert value(book, "rmax") < before


def write_and_run(book, begins: str, source: str) -> None:
    """Write `source` into the code cell that begins so, and run it."""
    find = """([begins, source]) => { const view = window.jupyterapp.shell.currentWidget.content;
        const index = view.widgets.findIndex((c) => c.model.type === 'code'
            && c.model.sharedModel.getSource().startsWith(begins));
        view.widgets[index].model.sharedModel.setSource(source);
        view.deselectAll(); view.activeCellIndex = index; }"""
    book.page.evaluate(find, [begins, source])
    book.run("notebook:run-cell")


def test_a_build_is_told_its_mistake_and_then_passes(opened):
    book = opened("01_affine.ipynb")
    head = "def my_quantize(x, scale, zero_point, qmin, qmax):\n    return "
    check = 'check("affine.quantize", my_quantize)'
    imports = "import numpy as np\nfrom helpers.exercise import check"
    for body, told in (
        ("(x / scale).astype(int) + zero_point", "cut off the fraction"),
        ("np.clip(np.rint(x / scale) + zero_point, qmin, qmax)", "Right: affine.quantize"),
    ):
        write_and_run(book, "import tempfile" if told.startswith("cut") else "import numpy", imports)
        write_and_run(book, "def my_quantize", head + body)
        write_and_run(book, check, check)
        book.page.locator(".jp-OutputArea-output", has_text=told).first.wait_for(timeout=60_000)


def test_dragging_an_end_moves_pixels_numbers_and_the_kernels_range(tune):
    before, old = picture(tune), value(tune, "rmax")
    drag(tune, "rmax", list(range(0, -200, -10)), smoothly=True)
    settle(tune)
    assert value(tune, "rmax") < 0.75 * old and picture(tune) != before
    assert kernel(tune)[1] == pytest.approx(value(tune, "rmax"))


def test_a_second_drag_during_work_leaves_the_last_value(tune):
    drag(tune, "rmin", [5 * (k % 17) for k in range(120)] + [40])  # faster than any kernel
    drag(tune, "rmin", [3 * (k % 11) for k in range(60)] + [25])
    settle(tune)
    last, shown = seq(tune), value(tune, "rmin")
    assert kernel(tune)[0] == pytest.approx(shown)
    assert seq(tune) == last, "nothing goes on after the hand stops"


def test_a_finger_drags_as_a_mouse_does(tune):
    tune.page.set_viewport_size({"width": 1100, "height": 450})  # there is something to scroll, and it must not
    tune.page.locator("[data-handle=rmax]").scroll_into_view_if_needed()
    box, start = tune.page.locator("[data-handle=rmax]").bounding_box(), value(tune, "rmax")
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    send = tune.page.context.new_cdp_session(tune.page).send
    send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for k in range(1, 9):
        send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x - 8 * k, "y": y - 10 * k}]})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(tune)
    assert tune.page.locator("[data-handle=rmax]").bounding_box()["y"] == box["y"] and value(tune, "rmax") < start
    assert kernel(tune)[1] == pytest.approx(value(tune, "rmax"))
    tune.page.set_viewport_size({"width": 1100, "height": 900})


def test_keys_move_an_end_and_bring_it_back(tune):
    handle = tune.page.locator("[data-handle=rmax]")
    tune.page.get_by_role("button", name="mse", exact=True).click()
    agree(tune)
    start, before = value(tune, "rmax"), picture(tune)
    handle.focus()
    handle.press("Shift+ArrowLeft")
    settle(tune)
    ten = start - value(tune, "rmax")
    handle.press("ArrowRight")
    settle(tune)
    assert 0 < start - value(tune, "rmax") < ten and picture(tune) != before
    handle.press("Control+z")
    agree(tune)
    assert value(tune, "rmax") == pytest.approx(start - ten)
    for _ in range(2):
        handle.press("Shift+ArrowLeft")
    settle(tune)
    handle.press("Home")
    agree(tune)
    assert value(tune, "rmax") == pytest.approx(start)


def test_each_methods_colour_and_label_come_from_python(tune):
    drawn = tune.page.evaluate("""() => [...document.querySelectorAll('.tune-range .method')].map((entry) => [
        entry.innerText, getComputedStyle(entry.firstChild).backgroundColor.match(/\\d+/g).map(Number)])""")
    wanted = [(m.label, [int(m.colour[k : k + 2], 16) for k in (1, 3, 5)]) for m in calibrate.METHODS.values()]
    assert sorted(map(tuple, drawn)) == sorted(wanted)


def test_labels_stand_clear_of_the_handles(tune):
    legend, plot = (tune.page.locator(f".tune-range .{part}").bounding_box() for part in ("legend", "plot"))
    assert legend["y"] + legend["height"] <= plot["y"] + 1


def test_an_arrow_in_a_list_or_a_dropdown_stays_there(opened):
    book = opened("keys.ipynb")
    book.run_all()
    active = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    for selector in (".tune-range [data-handle=rmax]", ".jp-OutputArea select", ".pixel-map"):
        target = book.page.locator(selector).first
        target.wait_for()
        before = book.page.evaluate(f"({active} = 0)")
        target.focus()
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "j"):
            book.page.keyboard.press(key)
        assert book.page.evaluate(active) == before, selector
        assert book.page.evaluate("s => document.querySelector(s) === document.activeElement", selector)


def nameless(book) -> list[str]:
    """Controls in sight that a screen reader could only call "button"."""
    return book.page.evaluate("""() => [...document.querySelectorAll(
        '.jp-OutputArea :is(input, select, button, textarea, [role=slider])')]
        .filter((e) => e.offsetParent && !(e.getAttribute('aria-label') || e.title || e.innerText))
        .filter((e) => ![...(e.labels || [])].map((l) => l.innerText).join('')).map((e) => e.outerHTML)""")


def test_every_control_has_a_name(tune):
    assert nameless(tune) == []


def test_dark_theme_is_readable_and_drawn_anew(tune):
    pixels = "document.querySelector('.tune-range canvas').toDataURL()"
    light = tune.page.evaluate(pixels)
    tune.run("apputils:change-theme", theme="JupyterLab Dark")
    tune.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'", timeout=20_000)
    tune.page.wait_for_function(f"light => {pixels} !== light", arg=light, timeout=20_000)
    ink, ground = tune.page.evaluate("""() => ['.tune-range', '.jp-Notebook'].map((s, k) =>
        getComputedStyle(document.querySelector(s))[k ? 'backgroundColor' : 'color'].match(/[\\d.]+/g).map(Number))""")

    def luminance(colour):
        parts = [c / 255 for c in colour[:3]]
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    bright, dark = sorted(map(luminance, (ink, ground)), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) > 4.5, "WCAG AA"
    tune.run("apputils:change-theme", theme="JupyterLab Light")
    assert tune.problems == []


def test_nothing_is_cut_off_at_200_percent(opened):
    book = opened("tune.ipynb", width=700, scale=2)  # what zoom makes of a 1400 px window
    book.run_all()
    book.page.wait_for_selector(".tune-range[data-frame]")
    wide = book.page.evaluate("""() => [...document.querySelectorAll('.tune-range, .tune-range *')]
        .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map((e) => e.className + e.innerText)""")
    assert wide == []
    ratio = book.page.evaluate(
        "document.querySelector('.tune-range canvas').width / document.querySelector('.tune-range').clientWidth"
    )
    assert ratio == pytest.approx(2, rel=0.02), "sharp, not blown up"


@pytest.fixture(scope="module")
def bench(opened):
    book = opened("bench.ipynb", width=1500)
    book.run_all()
    book.page.wait_for_selector(".wb-picture img")
    book.page.wait_for_selector(".tune-range[data-frame]")
    return book


def shown(book) -> str:
    return book.page.locator(".wb-picture img").first.get_attribute("src")


def test_workbench_a_dragged_range_moves_the_boxes(bench):
    bench.page.locator(".workbench").scroll_into_view_if_needed()
    before = shown(bench)
    drag(bench, "rmax", list(range(0, -260, -20)), smoothly=True)
    bench.page.wait_for_function(
        "src => document.querySelector('.wb-picture img').src !== src", arg=before, timeout=20_000
    )
    done, _, asked, held = kernel(bench)
    assert done and held == pytest.approx(asked, rel=1e-5)


def test_workbench_the_last_of_two_drags_stands(bench):
    drag(bench, "rmax", [-40, 30, -60])
    drag(bench, "rmax", [25, 10, 45])
    done, _, asked, held = kernel(bench)
    assert done and held == pytest.approx(asked, rel=1e-5) and asked == pytest.approx(value(bench, "rmax"))


CUT = """() => [...document.querySelectorAll('.workbench *:not(select)')]
    .filter((e) => e.offsetParent && e.clientWidth && e.scrollWidth > e.clientWidth + 1)
    .map((e) => e.className + e.innerText)"""


def cut(book) -> list[str]:
    """What does not fit into its place in the workbench, lists aside, which scroll, once it has been laid out anew."""
    with contextlib.suppress(Exception):  # what is still cut then is told
        book.page.wait_for_function(f"() => !({CUT})().length", timeout=10_000)
    return book.page.evaluate(CUT)


def bottom(book, selector: str) -> float:
    box = book.page.locator(selector).first.bounding_box()
    return box["y"] + box["height"]


def test_workbench_hand_boxes_and_numbers_are_in_one_view(bench):
    parts = (".workbench .plot", ".workbench .numbers", ".wb-picture img", ".wb-results table", ".wb-tensors img")
    for width, seen in ((1400, parts), (900, parts[:3])):
        bench.page.set_viewport_size({"width": width, "height": 900})
        bench.page.evaluate("document.querySelector('.workbench').scrollIntoView()")
        bench.page.wait_for_function("w => document.querySelector('.workbench').clientWidth < w", arg=width)
        assert cut(bench) == [], width
        assert {p: bottom(bench, p) for p in seen if bottom(bench, p) > 870} == {}, width
    bench.page.set_viewport_size({"width": 1500, "height": 900})


def test_workbench_keeps_the_chosen_tensor_in_sight(bench):
    inside = """() => { const list = document.querySelector('.wb-tensors select'), line = list.selectedOptions[0];
        const [a, b] = [list, line].map((e) => e.getBoundingClientRect());
        return b.top >= a.top && b.bottom <= a.bottom; }"""
    place = "document.querySelector('.wb-tensors select').selectedIndex"
    bench.page.locator(".wb-tensors select").focus()
    bench.page.keyboard.press("Home")
    assert kernel(bench)[0]
    bench.page.get_by_role("button", name="minmax", exact=True).click()
    bench.page.get_by_role("button", name="16 bits").click()  # what both win puts it far down in the list
    bench.page.wait_for_function(f"() => {place} > 40", timeout=10_000)
    bench.page.wait_for_function(inside, timeout=3000)
    bench.page.get_by_role("button", name="8 bits", exact=True).click()


def test_workbench_goes_by_keyboard_and_every_control_has_a_name(bench):
    assert nameless(bench) == []
    chosen = set()
    for key in ("Home", "End"):
        bench.page.locator(".wb-tensors select").focus()
        bench.page.keyboard.press(key)
        chosen.add(kernel(bench)[1])
    assert len(chosen) == 2


def test_workbench_writes_a_model_that_runs(bench, tmp_path):
    path = tmp_path / "mine.onnx"
    bench.page.get_by_role("tab", name="export, load").click()
    field = bench.page.locator(".wb-export input[type=text]")
    field.fill(str(path))
    field.press("Tab")
    bench.page.locator(".wb-export").get_by_role("button", name="write").click()
    bench.page.get_by_text("written: ").wait_for(timeout=60_000)
    loaded = session.load(path)
    one = loaded.get_inputs()[0]
    outputs = loaded.run(None, {one.name: np.zeros(one.shape, np.float32)})
    assert len(outputs) == 6 and all(np.isfinite(o).all() for o in outputs)
    assert bench.problems == []


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such file name")
def test_a_model_named_with_markup_runs_no_script(opened):
    book = opened("evil.ipynb")
    book.run_all()
    book.page.wait_for_selector(".wb-picture img")
    tried = "() => new Promise((done) => { const i = new Image(); i.onerror = done; i.src = 'x?later'; })"
    book.page.evaluate(tried)  # once this one has failed, so has any that the name put there before
    assert book.page.locator(".jp-RenderedText[data-mime-type*=error]").count() == 0
    assert book.page.locator("img[src=x]").count() == 0 and book.page.evaluate("window.hacked") is None
    assert "&lt;img src=x" in book.page.locator(".jp-CodeCell").last.inner_text(), "the name was there, escaped"
