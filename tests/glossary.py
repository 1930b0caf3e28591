"""Links between notebooks/glossary.md and the chapters, both ways: `python tests/glossary.py [--check]`.

Under each term stand the notebooks whose text uses it; in each a line names the terms that it is the first to use.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
GLOSSARY = FOLDER / "glossary.md"
NOTEBOOKS = [*sorted(FOLDER.glob("[0-9][0-9]_*.ipynb")), *sorted(FOLDER.glob("[a-z]*.ipynb"))]
FROM_GLOSSARY = "Used in: "
FROM_CHAPTER = "**Words of this chapter**: "


def anchor(title: str) -> str:
    """The address that Markdown gives a heading.

    >>> anchor("int8, uint8")
    'int8-uint8'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def pattern(title: str) -> re.Pattern[str]:
    """How a term stands in a text: any of its names between commas, as a word, in singular or plural."""
    names = [re.escape(name.strip()) for name in title.split(",")]
    return re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?:s|es)?(?!\w)", re.IGNORECASE)


def text_of(path: Path) -> str:
    """What a chapter says, without links' addresses, folded solutions and the generated line."""
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
    text = re.sub(r"<details>.*?</details>", "", "\n".join(cells), flags=re.S)
    return re.sub(r"\]\([^)]*\)", "]", "\n".join(line for line in text.splitlines() if FROM_CHAPTER not in line))


def linked(glossary: str, texts: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The glossary with its links to chapters, and for each chapter the line of terms that it is the first to use."""
    first: dict[str, list[str]] = {stem: [] for stem in texts}
    parts = re.split(r"(?m)^## ", glossary)
    for k, part in enumerate(parts[1:], 1):
        title, _, body = part.partition("\n")
        body = "\n".join(line for line in body.splitlines() if not line.startswith(FROM_GLOSSARY)).strip()
        using = [stem for stem, text in texts.items() if pattern(title).search(text)]
        if using:
            first[using[0]].append(title)
            body += f"\n\n{FROM_GLOSSARY}" + ", ".join(
                f"[{stem[:2] if stem[0].isdigit() else stem}]({stem}.ipynb)" for stem in using
            )
        parts[k] = f"{title}\n\n{body}\n\n"
    lines = {
        stem: FROM_CHAPTER + ", ".join(f"[{title}](glossary.md#{anchor(title)})" for title in titles) if titles else ""
        for stem, titles in first.items()
    }
    return "## ".join(parts).rstrip() + "\n", lines


def with_line(notebook: nbformat.NotebookNode, line: str) -> nbformat.NotebookNode:
    """The notebook whose last cell has `line` as its last paragraph but one, in place of an older one."""
    cell = notebook.cells[-1]
    paragraphs = [p for p in cell.source.split("\n\n") if not p.startswith(FROM_CHAPTER)]
    cell.source = "\n\n".join([*paragraphs[:-1], *filter(None, [line]), paragraphs[-1]])
    return notebook


def main(check: bool) -> int:
    """Write what has changed, or with --check only say it; 1 where something is stale."""
    texts = {path.stem: text_of(path) for path in NOTEBOOKS}
    glossary, lines = linked(GLOSSARY.read_text(encoding="utf-8"), texts)
    stale = [GLOSSARY.name] if glossary != GLOSSARY.read_text(encoding="utf-8") else []
    if not check:
        GLOSSARY.write_text(glossary, encoding="utf-8")
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, 4)
        before = notebook.cells[-1].source
        if with_line(notebook, lines[path.stem]).cells[-1].source != before:
            stale.append(path.name)
            if not check:
                nbformat.write(notebook, path)
    if stale:
        print("stale:" if check else "written:", ", ".join(stale))
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
