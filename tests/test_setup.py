"""The project's own promises: it installs where it must, imports point one way, versions live once."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Below each module, what it may import of helpers; `qat` alone may import torch, `assets` ultralytics.
BELOW = {
    "affine": set(),
    "graph": set(),
    "head": {"graph"},
    "error": {"affine"},
    "histogram": set(),
    "activations": {"graph", "histogram"},
    "calibrate": {"affine", "activations", "histogram"},
    "hexagon": {"affine"},
    "kernels": {"affine", "hexagon"},
    "contract": {"affine", "graph"},
    "integer": {"affine", "contract", "graph", "hexagon", "kernels"},
    "attribution": {"affine", "contract", "graph", "integer", "session"},
    "qdq": {"affine", "attribution", "calibrate", "contract", "graph", "head"},
    "backend": set(),
    "cost": {"graph"},
    "context": {"backend"},
    "session": {"backend", "context", "graph", "integer"},
    "server": set(),
    "assets": set(),
    "exercise": set(),
    "boxes": set(),
    "paired": {"boxes"},
    "vision": {"boxes", "head", "paired", "session"},
    "drift": {"head", "session"},
    "rounding": {"graph", "qdq"},
    "holdout": set(),
    "repair": {"affine", "calibrate", "drift", "graph", "head", "holdout", "qdq", "rounding"},
    "qat": {"affine", "graph", "qdq"},
    "plot": {"affine", "error", "calibrate", "qdq", "vision"},
    "page": {"plot"},
    "picture": {"plot"},
    "expected": {"affine", "calibrate"},
    "tuning": {"affine", "calibrate", "expected", "histogram", "plot"},
    "live": {"contract", "graph", "qdq", "vision"},
    "bench": {"affine", "calibrate", "context", "expected", "graph", "live", "qdq", "session", "vision"},
    "export": {"bench", "contract", "graph", "session"},
    "report": {"bench", "plot", "vision"},
    "latest": set(),
    "workbench": {"assets", "bench", "export", "latest", "report", "session", "tuning"},
    "widgets": {"affine", "error", "calibrate", "qdq", "session", "vision", "picture", "plot", "tuning", "workbench"},
    "__main__": {
        "affine",
        "assets",
        "calibrate",
        "context",
        "error",
        "graph",
        "page",
        "qdq",
        "repair",
        "session",
        "vision",
        "plot",
    },
    "__init__": set(),
}
PLATFORMS = {
    "Linux x86_64": ("x86_64-manylinux_2_35", "3.11"),
    "Windows x64": ("x86_64-pc-windows-msvc", "3.11"),
    "Windows ARM64": ("aarch64-pc-windows-msvc", "3.12"),  # PyYAML has no wheel for 3.11 there
    "macOS ARM64": ("aarch64-apple-darwin", "3.11"),
}


def imported(path: Path) -> tuple[set[str], set[str]]:
    """(modules of helpers, top-level packages) that a file imports, also inside functions."""
    own, other = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "helpers"):
            module = (node.module or "").removeprefix("helpers").strip(".")
            own |= {module.split(".")[0]} if module else {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            other.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            other |= {a.name.split(".")[0] for a in node.names}
            own |= {a.name.split(".")[1] for a in node.names if a.name.startswith("helpers.")}
    return own, other


@pytest.mark.parametrize("path", sorted((ROOT / "helpers").glob("*.py")), ids=lambda p: p.stem)
def test_imports_point_one_way(path):
    own, other = imported(path)
    assert own <= BELOW[path.stem]
    assert "torch" not in other or path.stem == "qat"
    assert "ultralytics" not in other or path.stem in ("assets", "qat")


def test_the_import_rule_has_no_circle():
    order = []
    while len(order) < len(BELOW):
        ready = [m for m in BELOW if m not in order and BELOW[m] <= set(order)]
        assert ready, f"a circle among {set(BELOW) - set(order)}"
        order += ready


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_core_set_has_wheels_on(platform):
    target, python = PLATFORMS[platform]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    command = [uv, "pip", "compile", "--quiet", "--only-binary", ":all:", "--python-platform", target]
    command += ["--python-version", python, str(ROOT / "pyproject.toml")]
    run = subprocess.run(command, capture_output=True, text=True)
    if re.search(r"[Ff]ailed to fetch|error sending request|dns error|network was disabled|[Cc]onnection", run.stderr):
        pytest.skip(f"no package index here: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
    found = dict(re.findall(r"^([\w-]+)==(\d+)", run.stdout, re.M))
    assert found["jupyterlab"] == "4" and "torch" not in found and "ultralytics" not in found
    assert ("onnxruntime-qnn" in found) == (platform != "macOS ARM64")


def test_the_core_imports_without_torch_and_without_the_network():
    modules = [p.stem for p in (ROOT / "helpers").glob("*.py") if p.stem not in ("__main__", "__init__", "qat")]
    code = f"""
import socket, sys
def refuse(*a, **k): raise OSError("the network was used at import")
socket.socket.connect = socket.create_connection = refuse
sys.modules.update(dict.fromkeys(["torch", "ultralytics", "cv2"]))  # importing one of them now fails
from helpers import {", ".join(modules)}
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_the_extra_leaves_out_windows_arm64():
    from packaging.requirements import Requirement

    for text in PROJECT["project"]["optional-dependencies"]["yolo"]:
        marker = Requirement(text).marker
        assert not marker.evaluate({"sys_platform": "win32", "platform_machine": "ARM64"})
        assert marker.evaluate({"sys_platform": "win32", "platform_machine": "AMD64"})
        assert marker.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})


def test_constraints_pin_the_whole_set_without_addresses():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text and " @ " not in text
    pinned = {m.lower().replace("_", "-") for m in re.findall(r"^([\w.-]+)==", text, re.M)}
    core = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["yolo"]
    asked = {re.match(r"[\w.-]+", d)[0].lower() for d in core + PROJECT["dependency-groups"]["dev"]}
    assert asked <= pinned


def test_versions_stand_in_pyproject_alone():
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "-e .[yolo]" in conda
    assert not [line for line in conda.splitlines() if re.search(r"[=<>]\d", line) and "python=" not in line]


def test_no_file_names_a_registry_or_this_machine():
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.split("\n")
    if not any(files):
        pytest.skip("not a git checkout")
    words = ["pypi" + ".org", "files.python" + "hosted", "/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/"]
    for name in filter(None, files):
        path = ROOT / name
        if path.suffix in (".jpg", ".png", ".onnx", ".npz") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        assert not [w for w in words if w in text], name
    assert "uv.lock" not in files


def test_ci_runs_the_command_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^python .*uv run .*pytest$", readme, re.M)) == 1
    assert os.access(ROOT / ".ci" / "run", os.X_OK) or os.name == "nt"


def test_the_readme_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert "://" in link or (ROOT / link).exists(), link


def test_ruff_is_content():
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run([sys.executable, "-m", "ruff", *command, "."], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stdout + run.stderr
