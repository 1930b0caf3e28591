"""Draw the rooms of helpers/ and who imports whom, as the Mermaid of CONTRIBUTING.md: `python tests/draw_imports.py`.

Without `--check` it writes the drawing into the file; with it, it exits with 1 where the file shows another one.
"""

import re
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"


def drawing() -> str:
    """A Mermaid graph: a node for each room, an arrow for each import; arrows that others imply are left out."""
    sys.path.insert(0, str(ROOT))  # the rooms beside this file, not a copy that is installed
    graph = grimp.build_graph("helpers", cache_dir=None)
    rooms = {m for m in graph.modules if m.count(".") == 1}
    below = {}
    for room in rooms:
        inside = {room} | graph.find_descendants(room)
        found = {".".join(i.split(".")[:2]) for m in inside for i in graph.find_modules_directly_imported_by(m)}
        below[room] = (found & rooms) - {room}
    below["helpers.widgets"] -= {"helpers.workbench"}  # the one exception, told in the text

    def reached(room):
        return below[room] | {r for other in below[room] for r in reached(other)}

    lines = ["graph TD"]
    for room in sorted(rooms):
        name = room.removeprefix("helpers.")
        implied = {r for other in below[room] for r in reached(other)}
        lines += [f"    {name} --> {other.removeprefix('helpers.')}" for other in sorted(below[room] - implied)]
        if not below[room] and not any(room in others for others in below.values()):
            lines.append(f"    {name}")
    return "\n".join(lines)


def page() -> str:
    """CONTRIBUTING.md with today's drawing in its place."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(r"```mermaid\n.*?```", f"```mermaid\n{drawing()}\n```", text, flags=re.S)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(page() != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page(), encoding="utf-8")
