"""Execute notebooks on data/ and keep their pictures and short texts: `python tests/render_notebooks.py [NAME …]`."""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image
from tqdm.auto import tqdm

from helpers import plot

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
START = FOLDER / "images" / "start.png"


def small_png(text: str) -> str:
    """The same picture with a palette of its own, dithered, which the eye hardly sees; fewer colours if large."""
    picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    for colours in (256, 96, 48):
        out, palette = io.BytesIO(), picture.quantize(colours, kmeans=4)
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(out, "PNG", optimize=True)
        if out.tell() < 140_000:
            break
    return base64.b64encode(out.getvalue()).decode()


def kept(output, cell):
    """What is committed of an output: a picture with its alternative text, or a short text; None for the rest."""
    if output.output_type == "stream":
        return nbformat.v4.new_output("stream", name="stdout", text=output.text) if output.name == "stdout" else None
    data = output.get("data", {})
    if "image/png" in data:
        alt = output.metadata.get("image/png", {}).get("alt") or cell.metadata.get("alt", "")
        return nbformat.v4.new_output(
            "display_data", {"image/png": small_png(data["image/png"])}, metadata={"image/png": {"alt": alt}}
        )
    text = data.get("text/plain", "")
    if not text or "0x" in text or "application/vnd.jupyter.widget-view+json" in data:
        return None
    return nbformat.v4.new_output("display_data", {"text/plain": text})


def clean(notebook):
    """Clear execution counts, widget state, and of the outputs all but pictures and short texts."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in ("jupyter", "tags", "alt")}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [found for output in cell.outputs if (found := kept(output, cell)) is not None]
    return notebook


def main(names) -> None:
    """Render the named notebooks, or all, in place."""
    os.environ["INT8_PROGRESS"] = tempfile.mkdtemp() + "/progress.json"  # nobody has built anything yet
    os.environ["INT8_ASSETS"] = ""  # what is committed shows data/, never a user's own pictures
    for path in tqdm([p for p in sorted(FOLDER.glob("*.ipynb")) if not names or p.stem in names], unit="notebook"):
        notebook = nbformat.read(path, 4)
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
        nbformat.write(clean(notebook), path)
    plot.save(plot.stages("to nearest", "rounded with inputs in view", "recipe best, A8W8"), START)  # the README's


if __name__ == "__main__":
    main(sys.argv[1:])
