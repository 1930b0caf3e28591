"""Claims before a court: what the reader guessed, what was measured, the stamp, and one picture of all of them."""

from __future__ import annotations

import html
import io
import textwrap
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from helpers import plot
from helpers.graph import StrPath

STAMPS = {  # verdict: (what the stamp says, its colour)
    "true": ("TRUE", plot.GREEN),
    "half": ("HALF TRUE", plot.ORANGE),
    "false": ("FALSE", plot.RED),
    "unmeasured": ("NOT MEASURABLE HERE", plot.GREY),
}
GUESSES = ("true", "half", "false")
_CLAIM, _MEASURED, _STAMP = 0.1, 2.65, 6.45  # where the picture's columns begin, inches of 8
_LINE = 0.165  # inches, of text of 8.5 pt


@dataclass(frozen=True)
class Ruling:
    """One claim with its stamp; its repr is what the reader is told. True where the reader guessed right.

    >>> Ruling("Zero is exact", "true", "true", "218 of 218 tensors", "01_affine")
    TRUE: Zero is exact
    Measured: 218 of 218 tensors
    You said true: right.
    """

    claim: str
    guess: str | None
    verdict: str
    measured: str
    chapter: str

    @property
    def stamp(self) -> str:
        """The stamp's words."""
        return STAMPS[self.verdict][0]

    @property
    def label(self) -> str:
        """What the finding is called."""
        return "Known" if self.verdict == "unmeasured" else "Measured"

    @property
    def answer(self) -> str:
        """What the reader's guess is told."""
        if self.guess is None:
            return "No guess: put 'true', 'half' or 'false' in place of None above, run that cell, then this one."
        if self.verdict == "unmeasured":
            return f"You said {self.guess}: nobody can rule on that here."
        return f"You said {self.guess}: {'right' if self else 'not so'}."

    def __bool__(self) -> bool:
        return self.guess == self.verdict

    def __repr__(self) -> str:
        return f"{self.stamp}: {self.claim}\n{self.label}: {self.measured}\n{self.answer}"

    def _repr_html_(self) -> str:
        claim, measured, answer = (html.escape(text) for text in (self.claim, self.measured, self.answer))
        colour = STAMPS[self.verdict][1]
        stamp = f'<b style="border: 2px solid {colour}; border-radius: 4px; padding: 1px 8px">{self.stamp}</b>'
        link = f'<a href="{html.escape(self.chapter)}.ipynb">{html.escape(self.chapter)}</a>'
        style = f"border-left: 4px solid {colour}; padding: 2px 10px; line-height: 1.7"
        return f'<div style="{style}">{stamp} {claim}<br>{self.label}: {measured}<br>{answer} More: {link}</div>'


class Court:
    """Keeps every ruling, in order; the same claim again replaces the older ruling.

    >>> court = Court()
    >>> _ = court.rule("Zero is exact", None, "true", "218 of 218 tensors", "01_affine")
    >>> court.tally
    '1 true'
    """

    def __init__(self) -> None:
        self.rulings: dict[str, Ruling] = {}

    def rule(self, claim: str, guess: str | None, verdict: str, measured: str, chapter: str) -> Ruling:
        """Stamp a claim: `verdict` is "true", "half", "false" or "unmeasured"; `guess` is the reader's, or None.

        `measured` is what was found, with its numbers, and `chapter` the notebook that shows it, without .ipynb.
        Raises ValueError for another verdict and for another guess.
        """
        if verdict not in STAMPS:
            raise ValueError(f"verdict {verdict!r} is unknown; choose one of {', '.join(STAMPS)}.")
        if guess is not None and guess not in GUESSES:
            raise ValueError(f"your guess {guess!r} is none of {', '.join(map(repr, GUESSES))}.")
        self.rulings[claim] = Ruling(claim, guess, verdict, measured, chapter)
        return self.rulings[claim]

    @property
    def tally(self) -> str:
        """How many claims got which stamp, in words."""
        given = [ruling.verdict for ruling in self.rulings.values()]
        return ", ".join(f"{given.count(v)} {stamp.lower()}" for v, (stamp, _) in STAMPS.items() if v in given)

    @property
    def score(self) -> str:
        """How many guesses were right, of those that could be; empty without a guess."""
        guessed = [r for r in self.rulings.values() if r.guess is not None and r.verdict != "unmeasured"]
        return f"{sum(map(bool, guessed))} of {len(guessed)} guesses right" if guessed else ""

    def picture(self) -> Figure:
        """Every claim with what was measured and its stamp, in one picture; raises ValueError before any ruling."""
        if not self.rulings:
            raise ValueError("no claim has been ruled on: run the cells above first.")
        rows = [_Row(number, ruling) for number, ruling in enumerate(self.rulings.values(), 1)]
        height = sum(row.height for row in rows)
        fig, ax = plot.new_figure(height=height + 0.6)
        ax.set(xlim=(0, 8), ylim=(height, 0))
        ax.set_axis_off()
        top = 0.0
        for row in rows:
            row.draw(ax, top)
            top += row.height
        fig.suptitle(f"The primer's {len(rows)} claims, measured: {self.tally}", fontsize=10.5)
        if self.score:
            ax.set_title(f"My verdicts: {self.score}", fontsize=9)
        return fig

    def save(self, path: StrPath) -> Path:
        """Write the picture to `path` as a PNG of 64 colours, small enough to be sent to anybody.

        >>> court = Court()
        >>> _ = court.rule("Zero is exact", None, "true", "218 of 218 tensors", "01_affine")
        >>> court.save(getfixture("tmp_path") / "court.png").name
        'court.png'
        """
        png = io.BytesIO()
        plot.save(self.picture(), png)
        Image.open(png).convert("RGB").quantize(64).save(path, "PNG", optimize=True)
        return Path(path)


class _Row:
    """One claim of the picture: its wrapped texts, how high it is, and how it is drawn."""

    def __init__(self, number: int, ruling: Ruling) -> None:
        self.number, self.ruling = number, ruling
        self.claim = textwrap.wrap(f"{number}. {ruling.claim}", 36, subsequent_indent="    ")
        self.measured = textwrap.wrap(ruling.measured, 52)
        self.height = max(len(self.claim), len(self.measured), 2) * _LINE + 0.12

    def draw(self, ax: Axes, top: float) -> None:
        """Draw it below `top`, inches."""
        middle = top + self.height / 2
        if self.number % 2:
            ax.axhspan(top, top + self.height, color="#f1f1f1", lw=0)
        for x, lines in ((_CLAIM, self.claim), (_MEASURED, self.measured)):
            ax.text(x, middle, "\n".join(lines), va="center", fontsize=8.5, **plot.LITERAL)
        guess = self.ruling.guess
        _stamp(ax, middle - (0.08 if guess else 0), self.ruling)
        if guess:
            ax.text(_STAMP + 0.72, middle + 0.14, f"I said {guess}", ha="center", va="center", fontsize=7.5)


def _stamp(ax: Axes, y: float, ruling: Ruling) -> None:
    """A box with the stamp's words in its colour."""
    words, colour = STAMPS[ruling.verdict]
    box = FancyBboxPatch((_STAMP, y - 0.09), 1.44, 0.18, boxstyle="round,pad=0.03", fc="white", ec=colour, lw=2)
    ax.add_patch(box)
    size = 8 if len(words) < 12 else 6.8
    ax.text(_STAMP + 0.72, y, words, ha="center", va="center_baseline", fontsize=size, weight="bold")
