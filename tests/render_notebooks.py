"""Execute notebooks on data/ and keep nothing but their pictures: `python tests/render_notebooks.py [NAME …]`."""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image
from tqdm.auto import tqdm

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def small_png(text: str) -> str:
    """The same picture with a palette of 256 colours, which plots rarely exceed."""
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def clean(notebook):
    """Clear execution counts, widget state and every output but pictures."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in ("jupyter", "tags")}
        if cell.cell_type == "code":
            cell.execution_count = None
            pictures = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
            cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": small_png(p)}) for p in pictures]
    return notebook


def main(names) -> None:
    """Render the named notebooks, or all, in place."""
    os.environ["INT8_ASSETS"] = ""  # what is committed shows data/, never a user's own pictures
    for path in tqdm([p for p in sorted(FOLDER.glob("*.ipynb")) if not names or p.stem in names], unit="notebook"):
        notebook = nbformat.read(path, 4)
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
        nbformat.write(clean(notebook), path)


if __name__ == "__main__":
    main(sys.argv[1:])
