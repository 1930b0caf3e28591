"""Record the workbench in motion, from the real browser, as the README's second picture.

    python tests/record_workbench.py [notebooks/images/workbench.gif]

A range is pulled inwards, boxes are lost, and “take back” brings them back. At most 1.5 MB, or it fails.
"""

import io
import sys
import tempfile
from pathlib import Path

import browser as harness
from PIL import Image

LIMIT = 1_500_000  # bytes
WIDE = 1100  # px
CELL = """
from helpers import assets, widgets
model, calibration, judging = assets.course()
ui = widgets.workbench(model, judging[:6], calibration[:16])
ui
"""
CHANGED = "src => document.querySelector('.wb-picture img').src !== src"


class Recorder:
    """Frames of one part of a page, each with the time that it is shown, ms."""

    def __init__(self, page, clip: dict[str, float]):
        self.page, self.clip = page, clip
        self.frames: list[Image.Image] = []
        self.times: list[int] = []

    def frame(self, time: int) -> None:
        image = Image.open(io.BytesIO(self.page.screenshot(clip=self.clip))).convert("RGB")
        self.frames.append(image.resize((WIDE, round(WIDE * image.height / image.width)), Image.Resampling.LANCZOS))
        self.times.append(time)

    def save(self, path: Path) -> None:
        """All frames with the colours of the first; raises ValueError above `LIMIT` bytes."""
        palette = self.frames[0].quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames)
        first.save(path, save_all=True, append_images=rest, duration=self.times, loop=0, optimize=True)
        if path.stat().st_size > LIMIT:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, more than {LIMIT}; record fewer or smaller frames.")


def play(book, recorder: Recorder) -> None:
    """Pull the right end of the range inwards until boxes are lost, look, and take it back."""
    page = book.page
    recorder.frame(1200)
    box = page.locator("[data-handle=rmax]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    page.mouse.move(x, y)
    page.mouse.down()
    reach = x - page.locator("[data-handle=rmin]").bounding_box()["x"] - box["width"] / 2
    for k in range(1, 16):
        page.mouse.move(x - 0.0302 * k * reach, y)
        page.wait_for_timeout(150)  # the kernel's numbers follow
        recorder.frame(110)
    before = page.locator(".wb-picture img").get_attribute("src")
    page.mouse.up()
    for part, pause in (("boxes are lost", 2200), ("taken back", 1800)):
        page.wait_for_function(CHANGED, arg=before, timeout=60_000)
        page.wait_for_timeout(4000)  # all pictures are judged
        recorder.frame(pause)
        before = page.locator(".wb-picture img").get_attribute("src")
        if part == "boxes are lost":
            page.get_by_role("button", name="take back").click()


def main(out: Path) -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        name = harness.write(Path(folder), "workbench.ipynb", CELL, "ui.wait()")
        with harness.lab(Path(folder)) as address:
            book = harness.Notebook(harness.launch(playwright), address(name), width=1400)
            book.run_all()
            book.page.wait_for_selector(".wb-picture img")
            book.page.wait_for_timeout(3000)
            book.page.evaluate("document.querySelector('.workbench').scrollIntoView()")
            columns = book.page.locator(".wb-columns").bounding_box()
            recorder = Recorder(book.page, columns)
            play(book, recorder)
            recorder.save(out)
            print(f"{out}: {len(recorder.frames)} frames, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else harness.NOTEBOOKS / "images" / "workbench.gif"))
