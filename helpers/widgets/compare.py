"""Two or more detectors on one picture: each picture is detected once, and what differs is marked."""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import ipywidgets as w

from helpers import assets, plot
from helpers.boxes import Detections, above, match
from helpers.plot import ORANGE, RED
from helpers.tasks import Detector
from helpers.widgets.figure import InteractiveFigure

SIDE = 640  # px, the longest side of a picture that is shown


def compare(detectors: Mapping[str, Detector], pictures: Sequence[str | Path]) -> InteractiveFigure:
    """Two or more detectors on one picture, side by side; choose the picture and the threshold.

    `detectors` is {title: detector}. Boxes that the first and the others do not share are dashed and red.

    >>> from helpers import assets, tasks
    >>> box = compare({"FP32": tasks.Detector(assets.model())}, assets.images()[:2])
    >>> "FP32: " in box.picture.value
    True
    """

    ahead = ThreadPoolExecutor(1)  # detects the next picture while you look at this one

    @functools.cache
    def asked(index: int) -> Future[dict[str, Detections]]:
        return ahead.submit(lambda: {title: d.detect(pictures[index], conf=0.05) for title, d in detectors.items()})

    def found(index: int) -> dict[str, Detections]:
        results = asked(index).result()
        if 0 < index < len(pictures) - 1:  # not for the first: perhaps nobody moves on
            asked(index + 1)
        return results

    @functools.cache
    def photo(index: int) -> tuple[tuple[int, int], str]:
        return _photo(pictures[index])

    names = next(iter(detectors.values())).names
    picture = w.IntSlider(0, 0, len(pictures) - 1, description="picture")
    conf = w.FloatSlider(0.25, min=0.05, max=0.95, step=0.01, description="threshold")
    hint = "Move the threshold slowly, with the mouse or the arrow keys: which boxes come and go in one of them only?"
    return InteractiveFigure(
        hint,
        lambda index, conf: _panels(photo(index), found(index), names, conf),
        [picture, conf],
        lambda index, conf: plot.detections(pictures[index], found(index), names, conf),
    )


def _photo(path: str | Path) -> tuple[tuple[int, int], str]:
    """A picture's own (width, height), and the picture as HTML."""
    image = assets.open_image(path)
    size, buffer = image.size, io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return size, f'<img class="photo" alt="" decoding="sync" src="data:image/jpeg;base64,{data}">'


def _panels(
    photo: tuple[tuple[int, int], str], results: Mapping[str, Detections], names: Mapping[int, str], conf: float
) -> str:
    """The claim, and a panel for each model."""
    size, image = photo
    shown = {title: above(found, conf) for title, found in results.items()}
    first, *others = shown.values()
    pairs = [dict(match(first, other)) for other in others]
    shared = [set.intersection(*map(set, pairs)) if pairs else set(range(len(first[1])))]
    shared += [set(pair.values()) for pair in pairs]
    figures = ""
    for (title, found), both in zip(shown.items(), shared, strict=True):
        alone = len(found[1]) - len(both)
        caption = f"{html.escape(title)}: {len(found[1])} boxes, {alone or 'none'} of its own"
        stack = f'<div class="stack">{image}{_boxes(size, found, both, names)}</div>'
        figures += f"<figure><figcaption>{caption}</figcaption>{stack}</figure>"
    return f'<div class="panels">{figures}</div>'


def _boxes(size: tuple[int, int], found: Detections, shared: set[int], names: Mapping[int, str]) -> str:
    """Boxes with class and score as SVG, those that are not `shared` dashed and red."""
    wide, tall = size
    letter, drawn = 0.035 * max(size), ""
    for k, ((x0, y0, x1, y1), score, c) in enumerate(zip(*found, strict=True)):
        style = f'stroke="{ORANGE}" stroke-width="2"'
        if k not in shared:
            style = f'stroke="{RED}" stroke-width="4" stroke-dasharray="8 4"'
        at = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
        drawn += f'<rect {at} fill="none" {style} vector-effect="non-scaling-stroke"/>'
        label = f"{html.escape(str(names.get(int(c), c)))} {score:.2f}"
        ends = f'x="{x1:.1f}" text-anchor="end"' if x0 > 0.7 * wide else f'x="{x0:.1f}"'
        drawn += f'<text {ends} y="{max(y0 - 0.2 * letter, letter):.1f}">{label}</text>'
    text = f'font-size="{letter:.1f}" stroke-width="{letter / 5:.1f}"'
    return f'<svg viewBox="0 0 {wide} {tall}" role="img" aria-label="boxes"><g {text}>{drawn}</g></svg>'
