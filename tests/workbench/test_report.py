"""The workbench's page and tables."""

from PIL import Image

from helpers.workbench import report

CHANGED = "/model.1/act/Mul_output_0"


def test_the_page_is_one_picture_with_the_settings_in_words(here, tmp_path):
    here.set(CHANGED, -0.1, 0.9)
    here.metrics()
    path = report.save_page(here, tmp_path / "page.png")
    with Image.open(path) as image:
        assert image.width > 700 and image.height > 700
    figure = report.page(here)
    said = " ".join(t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")))
    assert here.model.name in said and here.sha256[:8] in said and CHANGED in said


def test_a_table_escapes_what_it_is_given():
    text = report.rows([("head",), ("<img src=x>",)])
    assert "<img src=x>" not in text and "&lt;img src=x&gt;" in text and "head" in text
