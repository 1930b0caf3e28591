"""The project's own promises: it installs where it must, imports point one way, versions live once."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

PLATFORMS = {
    "Linux x86_64": ("x86_64-manylinux_2_35", "3.11"),
    "Windows x64": ("x86_64-pc-windows-msvc", "3.11"),
    "Windows ARM64": ("aarch64-pc-windows-msvc", "3.12"),  # PyYAML has no wheel for 3.11 there
    "macOS ARM64": ("aarch64-apple-darwin", "3.11"),
}


@pytest.mark.parametrize("package, rooms", [("torch", {"qat"}), ("ultralytics", {"assets", "qat"})])
def test_only_the_rooms_that_need_the_extra_import_it(package, rooms):
    """Inside of functions too, and in code that is started as a process of its own."""
    word = re.compile(rf"(?:from|import) {package}\b")
    files = [path for path in (ROOT / "helpers").rglob("*.py") if word.search(path.read_text(encoding="utf-8"))]
    found = {path.relative_to(ROOT / "helpers").parts[0] for path in files}
    assert found <= rooms and (found or package == "torch")


def said(*command) -> str:
    """What a command of this environment prints, where it fails; nothing where it ends well."""
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT)
    return run.stdout + run.stderr if run.returncode else ""


def test_a_room_imports_only_rooms_below_it():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    assert not said("-c", command)


def test_the_drawing_of_the_rooms_is_todays():
    assert not said("tests/draw_imports.py", "--check"), "run python tests/draw_imports.py"


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
    rooms = [m.name for m in pkgutil.walk_packages([str(ROOT / "helpers")], "helpers.") if "__main__" not in m.name]
    assert len(rooms) > 60
    code = f"""
import socket, sys
def refuse(*a, **k): raise OSError("the network was used at import")
socket.socket.connect = socket.create_connection = refuse
sys.modules.update(dict.fromkeys(["torch", "ultralytics", "cv2"]))  # importing one of them now fails
import {", ".join(rooms)}
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
        if path.suffix in (".jpg", ".png", ".gif", ".onnx", ".npz") or not path.is_file():
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
    assert not said("-m", "ruff", "check", ".")
    assert not said("-m", "ruff", "format", "--check", ".")


def test_mypy_is_content():
    assert not said("-m", "mypy")
