"""Safe by default: nothing is sent, nothing is written outside of the project, and no name becomes markup."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import numpy as np
import pytest

from helpers import assets, plot
from helpers.targets.provider import quiet_stdout

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "ORT_DISABLE_TELEMETRY"


def python(code, **env):
    """Run code in a process that knows nothing of this one's choice about telemetry."""
    env = {k: v for k, v in os.environ.items() if k != VARIABLE} | env
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env)


@pytest.mark.parametrize("module", ["helpers", "helpers.jupyter.server", "helpers.__main__"])
def test_the_telemetry_is_off_before_onnxruntime_is_imported(module):
    code = f"""
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("onnxruntime sees", os.environ.get("{VARIABLE}"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Spy())
import {module}
import onnxruntime
"""
    done = python(code)
    assert done.stdout == "onnxruntime sees 1\n" and not done.stderr, done.stderr
    assert python(code, **{VARIABLE: "0"}).stdout == "onnxruntime sees 0\n", "who asks for it keeps it"


def test_an_onnxruntime_imported_too_early_is_told():
    code = "import sys, types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime'); import helpers"
    assert f"import helpers first, or set {VARIABLE}=1" in python(code).stderr
    assert not python(code, **{VARIABLE: "1"}).stderr


def test_no_script_and_no_notebook_imports_onnxruntime_before_helpers():
    sources = {p: p.read_text(encoding="utf-8") for p in sorted((ROOT / "data").glob("*.py"))}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, 4).cells
        sources[path] = "\n".join(c.source for c in cells if c.cell_type == "code")
    for path, text in sources.items():
        found = re.findall(r"^\s*(?:from|import) (helpers|onnxruntime)\b", text, re.M)
        assert "onnxruntime" not in found or found[0] == "helpers", path


def allowed(*command) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run([*command, "true"], capture_output=True).returncode


def test_a_run_of_00_asks_no_name_and_writes_nothing_outside(tmp_path):
    """In a network namespace of its own with an empty home; where there is strace, by what it asks of the system."""
    if not allowed("unshare", "-rn"):
        pytest.skip("no network namespaces here (Linux, and the right to make one)")
    import matplotlib  # whose own list of fonts is not ours, and is there already

    home, temporary, log = tmp_path / "home", tmp_path / "tmp", tmp_path / "strace"
    home.mkdir(), temporary.mkdir()
    book = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", 4)
    code = "\n".join(c.source for c in book.cells if c.cell_type == "code").replace("count = 8", "count = 2")
    env = {k: v for k, v in os.environ.items() if k != VARIABLE and not k.startswith("XDG_")}
    env |= {"HOME": str(home), "TMPDIR": str(temporary), "MPLCONFIGDIR": matplotlib.get_cachedir(), "INT8_ASSETS": ""}
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    watched = ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "4096", "-e", "trace=connect,sendto,sendmsg,open,openat"]
    traced = allowed(*watched)
    command = ["unshare", "-rn", *([*watched, "-o", str(log)] if traced else []), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(home.rglob("*"))
    assert [p.suffix for p in temporary.rglob("*") if p.is_file()] == [".onnx"] * 3, "the models of the notebook"
    if not traced:
        return
    text = log.read_text(errors="replace")
    assert "scenes.onnx" in text, "else nothing was watched"
    assert not re.findall(r"AF_INET.*|.*resolv\.conf.*", text)
    opened = re.findall(r'open(?:at)?\((?:AT_FDCWD, )?"(/[^"]*)", [^)]*O_(?:WRONLY|RDWR|CREAT)(?!.* = -1 E)', text)
    ours = (
        f"{ROOT}/",
        f"{temporary}/",
        "/dev/",
        "/proc/self/",
        "/var/lib/libuuid/",
    )  # the last is uuid.uuid1()'s clock
    assert not [name for name in opened if not name.startswith(ours)]


def test_quiet_stdout_in_two_threads_gives_descriptor_1_back(tmp_path):
    """The second enters while the first is inside and leaves last: each alone would keep the other's nowhere."""
    first, second, left = threading.Event(), threading.Event(), threading.Event()

    def one():
        with quiet_stdout():
            first.set()
            assert second.wait(5)
        left.set()

    def two():
        assert first.wait(5)
        with quiet_stdout():
            second.set()
            assert left.wait(5)
            os.write(1, b"still quiet\n")

    kept = os.dup(1)
    try:
        with open(tmp_path / "out", "wb") as out:
            os.dup2(out.fileno(), 1)
        threads = [threading.Thread(target=f) for f in (one, two)]
        [t.start() for t in threads]
        [t.join(10) for t in threads]
        os.write(1, b"heard\n")
        with pytest.raises(ZeroDivisionError), quiet_stdout(), quiet_stdout():
            os.write(1, b"quiet\n")
            raise ZeroDivisionError
        os.write(1, b"again\n")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert (tmp_path / "out").read_bytes() == b"heard\nagain\n"


NAME = r"a $\frac$ b"  # as a formula it is an error


def test_a_dollar_in_a_name_is_no_formula(tmp_path):
    found = np.array([[4.0, 4, 60, 60]]), np.array([0.9]), np.array([0])
    picture = assets.images("validation")[0]
    for figure in (
        plot.detections(picture, {NAME: found}, {0: NAME}),
        plot.overlay(picture, found, found, {0: NAME}),
        plot.overlay(picture, found, tuple(f[:0] for f in found), {0: NAME}),
        plot.sqnr_by_depth({NAME: {NAME: 3.0}}, NAME),
        plot.channels(np.ones((2, 2)), NAME),
        plot.pipeline({"S": "1"}, NAME),
    ):
        plot.save(figure, tmp_path / "figure.png")


def test_no_progress_bar_gets_a_name_as_raw_html():
    """tqdm writes `desc=` into a notebook's page as it is, and escapes what `set_description` is given."""
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        found = re.findall(r"tqdm\(.*desc=(.)", path.read_text(encoding="utf-8"))
        assert set(found) <= {'"'}, path
