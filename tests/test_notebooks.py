"""Every notebook runs from top to bottom, on data/ and on the real assets, and is committed clean."""

import ast
import base64
import os
import re
from pathlib import Path

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
                assert list(output.get("data", {})) == ["image/png"], "only pictures are kept"
                assert len(base64.b64decode(output.data["image/png"])) < 150_000
    assert any(c.get("outputs") for c in notebook.cells), "GitHub has no kernel: keep at least one picture"


@each
def test_cells_are_short_and_end_in_a_value(path):
    for k, cell in enumerate(nbformat.read(path, 4).cells):
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
            assert len(lines) <= 7, f"cell {k} has {len(lines)} lines; move it to helpers"
            last = ast.parse(cell.source).body[-1]
            assert isinstance(last, ast.Expr | ast.Assert | ast.ImportFrom | ast.Import), f"cell {k} shows nothing"


@each
def test_links_lead_somewhere(path):
    text = "".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in link or (path.parent / link).exists(), link
