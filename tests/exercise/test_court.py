"""The court's stamps: what a ruling says, what it refuses, and that its picture shows every word whole."""

import io
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from helpers import plot
from helpers.exercise.court import STAMPS, Court


def rule(guess, verdict="half", claim="Files shrink by four"):
    return Court().rule(claim, guess, verdict, "3.08 times <b>", "05_qdq")


@pytest.mark.parametrize(
    "guess, verdict, right, found, answer",
    [
        ("half", "half", True, "Measured", "You said half: right."),
        ("true", "half", False, "Measured", "You said true: not so."),
        ("true", "unmeasured", False, "Known", "You said true: nobody can rule on that here."),
    ],
)
def test_a_guess_is_set_beside_the_stamp(guess, verdict, right, found, answer):
    ruling = rule(guess, verdict)
    assert bool(ruling) == right
    assert repr(ruling) == f"{STAMPS[verdict][0]}: Files shrink by four\n{found}: 3.08 times <b>\n{answer}"


def test_no_guess_stops_nothing():
    assert "No guess" in repr(rule(None)) and repr(rule(None)).startswith("HALF TRUE")


def test_in_a_notebook_it_links_its_chapter_and_escapes_its_texts():
    shown = rule(None)._repr_html_()
    assert 'href="05_qdq.ipynb"' in shown and "HALF TRUE" in shown
    assert "&lt;b&gt;" in shown and "times <b>" not in shown


@pytest.mark.parametrize("guess, verdict", [("yes", "half"), (None, "maybe")])
def test_an_unknown_word_is_refused_by_name(guess, verdict):
    with pytest.raises(ValueError, match=guess or verdict):
        rule(guess, verdict)


def full_court():
    court = Court()
    for number, verdict in enumerate(STAMPS):
        court.rule(
            f"Claim {number} " + "in many words " * 5, "half", verdict, "a long measurement of much " * 4, "01_affine"
        )
    return court


def test_a_claim_that_is_ruled_on_again_stands_once():
    court = Court()
    for verdict in ("true", "false"):
        court.rule("Zero is exact", "false", verdict, "all of them", "01_affine")
    assert court.tally == "1 false" and court.score == "1 of 1 guesses right"


def test_the_tally_counts_each_stamp_and_the_score_only_what_can_be_ruled_on():
    assert full_court().tally == "1 true, 1 half true, 1 false, 1 not measurable here"
    assert full_court().score == "1 of 3 guesses right"


def test_the_picture_holds_every_claim_and_stamp_in_words():
    fig = full_court().picture()
    texts = " ".join(text.get_text() for text in fig.axes[0].texts).replace("\n", " ")
    assert all(f"{n + 1}. Claim {n}" in texts for n in range(4)) and texts.count("much") == 16
    assert all(words in texts for words, _ in STAMPS.values())
    assert fig.alt_text().startswith("The primer's 4 claims, measured: 1 true, 1 half true")


def test_no_text_of_the_picture_runs_into_another():
    fig = full_court().picture()
    plot.save(fig, io.BytesIO())  # laid out as it is saved
    boxes = [text.get_window_extent() for text in fig.axes[0].texts]
    pairs = [(a, b) for k, a in enumerate(boxes) for b in boxes[k + 1 :]]
    assert not any(a.overlaps(b) for a, b in pairs)
    assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 for box in boxes)


def test_a_long_court_makes_a_small_file(tmp_path):
    court = Court()
    for number in range(22):
        court.rule(f"Claim {number} of the primer, in words", "true", "true", "measured " * 11, "01_affine")
    file = court.save(tmp_path / "court.png")
    assert file.stat().st_size < 150_000 and Image.open(file).width == 800


def test_an_empty_court_has_no_picture():
    with pytest.raises(ValueError, match="run the cells above"):
        Court().picture()


NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "court.ipynb"


def test_each_claim_of_the_notebook_is_guessed_first_and_ruled_on_in_another_cell():
    cells = nbformat.read(NOTEBOOK, 4).cells
    asked = {cell.source.removesuffix(" = None"): k for k, cell in enumerate(cells) if cell.source.endswith(" = None")}
    ruled = {
        name: k for k, cell in enumerate(cells) for name in re.findall(r"court\.rule\([^\n]+?, (my_\w+)", cell.source)
    }
    assert asked.keys() == ruled.keys() and len(asked) == 22
    assert all(asked[name] < ruled[name] for name in asked)


def test_each_ruling_names_the_chapter_that_the_text_links():
    chapter, ruled = None, []
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "markdown" and (named := re.search(r"Chapter: \[\w+\]\((\w+)\.ipynb\)", cell.source)):
            chapter = named[1]
        ruled += [(named, chapter) for named in re.findall(r"court\.rule\(.*\"(\d\d_\w+)\"\)", cell.source)]
    assert len(ruled) == 22
    assert all(named == linked and NOTEBOOK.with_name(f"{named}.ipynb").exists() for named, linked in ruled)
