"""Every notebook runs from top to bottom, on data/ and on the real assets, and is committed clean."""

import ast
import base64
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import browser
import nbformat
import pytest
from nbclient import NotebookClient

from helpers import assets

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def run(path, **env):
    """Execute a notebook in its folder, in a kernel of its own; a cell's error is raised with its traceback."""
    client = NotebookClient(nbformat.read(path, 4), timeout=300, resources={"metadata": {"path": str(path.parent)}})
    client.execute(env=os.environ | env)  # the timeout ends a hang: it is no stopwatch


@each
def test_runs_on_data(path):
    if browser.installed() and path.stem in browser.WALK:
        pytest.skip("test_browser.py runs it")
    run(path, **{assets.VARIABLE: ""})


@pytest.mark.yolo
@each
def test_runs_on_the_real_assets(path):
    source = path.read_text(encoding="utf-8")
    if "assets.course()" not in source:
        pytest.skip("uses data/ alone")
    if assets.course()[0] == assets.model():
        pytest.skip(f"no real assets: set {assets.VARIABLE}, and for a .pt install the extra yolo")
    run(path)


@each
def test_is_committed_clean(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.execution_count is None
            for output in cell.outputs:
                is_clean(output)
    assert any("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])), "no picture"


def is_clean(output):
    """A small picture with its alternative text, or a short text without a path of this machine."""
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    assert len(text) < 2500 and not re.search(r"/(?:tmp|work|home|root)/|0x[0-9a-f]{6}", text), text
    if output.output_type == "stream":
        assert output.name == "stdout"
        return
    assert set(output.data) <= {"image/png", "text/plain"}
    if "image/png" in output.data:
        assert len(base64.b64decode(output.data["image/png"])) < 150_000
        assert output.metadata["image/png"]["alt"], "a picture without alternative text"


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


def is_guard(cell):
    """The folded cell that holds the text's numbers against what the cells computed."""
    return "guard" in cell.metadata.get("tags", [])


@each
def test_cells_are_short_and_end_in_a_value(path):
    cells = [cell for cell in code_cells(path) if not is_guard(cell)]
    for cell in cells:
        body = ast.parse(cell.source).body
        is_build = isinstance(body[-1], ast.FunctionDef)
        if cell.source.endswith(" = None"):  # a prediction
            continue
        assert len(lines(cell)) <= (12 if is_build else 7), f"move it to helpers:\n{cell.source}"
        assert isinstance(body[-1], ast.Expr | ast.ImportFrom | ast.Import | ast.FunctionDef), cell.source
    assert statistics.median(len(lines(cell)) for cell in cells) <= 4


@each
def test_asserts_are_out_of_the_reader_s_way(path):
    guards = [cell for cell in code_cells(path) if is_guard(cell)]
    assert len(guards) <= 1 and all(cell.metadata["jupyter"]["source_hidden"] for cell in guards)
    assert not any("assert " in cell.source for cell in code_cells(path) if not is_guard(cell))


@each
def test_predictions_start_empty_and_are_revealed_elsewhere(path):
    asked = {name for cell in code_cells(path) for name in re.findall(r"guess\((my_\w+)", cell.source)}
    for cell in code_cells(path):
        for name in re.findall(r"^(my_\w+) = None", cell.source, re.M):
            assert f"guess({name}" not in cell.source, f"{name} is asked and revealed in one cell"
            asked.discard(name)
    assert not asked, f"{asked} does not start as None"


@each
def test_a_chapter_says_its_minutes_and_leads_on(path):
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
    if re.match(r"\d\d_", path.stem):
        assert re.search(r"\d+ min", cells[0]), "minutes in the first cell"
        assert "You will have built" in cells[0] and re.search(r"\]\(\w+\.ipynb\)", cells[-1])
        assert "Further reading" in "".join(cells[-2:])


@each
def test_links_lead_somewhere(path):
    text = "".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in link or (path.parent / link).exists(), link


def test_the_glossary_and_the_chapters_link_each_other():
    command = [sys.executable, str(Path(__file__).with_name("glossary.py")), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}run python tests/glossary.py"


def test_each_word_of_the_glossary_is_used():
    words = (NOTEBOOKS[0].parent / "glossary.md").read_text(encoding="utf-8").split("\n## ")[1:]
    assert len(words) >= 45
    assert not [word.splitlines()[0] for word in words if "Used in: " not in word]


@pytest.mark.parametrize("table", [NOTEBOOKS[0].parents[1] / "README.md", NOTEBOOKS[0]], ids=["README", "00"])
def test_tables_of_chapters_say_the_chapters_minutes(table):
    text = table.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        said = re.search(rf"{path.stem}\.ipynb\) \| (\d+) ", text)
        first = nbformat.read(path, 4).cells[0].source
        if said:
            assert re.search(r"(\d+) min", first)[1] == said[1], path.stem
