"""A JupyterLab on this machine and the browser that is installed, for tests and for the benchmark of the widgets."""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
SHIPPED = ROOT / "helpers" / "jupyter"  # the settings that an installation puts into place
READY = """() => { const s = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return s?.isReady && s.session?.kernel?.status === 'idle'; }"""
WALK = {  # notebooks that a test of the browser runs from top to bottom, and what they then show
    "00_start_here": ".jp-RenderedImage",
    "01_affine": ".noUi-handle",
    "04_calibration": ".tune-range[data-frame]",
    "06_integer": ".jp-RenderedImage",
    "workbench": ".tune-range[data-frame]",
}
QUIET = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there too
}


def installed() -> str | None:
    """Path of the system's Chromium or Chrome, where Playwright can drive it."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return path if importlib.util.find_spec("playwright") else None


def launch(playwright):
    """The system's Chromium, Chrome or Edge, without a window; LookupError with the remedy where there is none."""
    path = installed()
    root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    choices = [{"executable_path": path}] if path else [{"channel": "chrome"}, {"channel": "msedge"}]
    for choice in choices:
        with contextlib.suppress(Exception):
            return playwright.chromium.launch(args=root, **choice)
    raise LookupError(
        "no browser for the browser tests: install Chromium (Debian: apt-get install chromium) or Chrome."
    )


@contextlib.contextmanager
def lab(folder: Path):
    """A JupyterLab that serves `folder`; gives the address of a notebook in it by name."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token, own = secrets.token_hex(16), folder / ".jupyter"
    for name, settings in QUIET.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")
    env = os.environ | {
        "INT8_ASSETS": "",
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_CONFIG_PATH": str(SHIPPED / "etc"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--expose-app-in-browser"]
    command += [f"--LabApp.app_settings_dir={SHIPPED / 'lab_settings'}"]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen([*command, f"--ServerApp.root_dir={folder}"], env=env, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None:
                break
            time.sleep(0.2)
        else:
            server.kill()
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab did not start: {(folder / 'lab.log').read_text()[-2000:]}")
        yield lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?reset&token={token}"
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(15)
        server.kill()
        log.close()


def write(folder: Path, name: str, *cells: str) -> str:
    """A notebook of code cells; returns its name."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, folder / name)
    return name


class Notebook:
    """One notebook in the browser; `problems` are console errors, page errors and requests to other machines."""

    def __init__(self, browser, address: str, width: int = 1100, scale: float = 1):
        self.problems: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, device_scale_factor=scale)
        self.page = context.new_page()
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.problems.append(str(e)))
        self.page.on("request", lambda r: self._watch(r.url))
        self.page.goto(address)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.wait_for_function(READY, timeout=60_000)
        self.run("application:toggle-left-area")

    def _watch(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self.problems.append(f"asks the network: {url}")

    def run(self, command: str, **arguments):
        """Execute one of JupyterLab's commands."""
        return self.page.evaluate("([c, a]) => { window.jupyterapp.commands.execute(c, a) }", [command, arguments])

    def run_all(self, timeout: float = 90) -> None:
        """Run every cell and wait until the last one has its number."""
        self.run("notebook:run-all-cells")
        done = """() => window.jupyterapp.shell.currentWidget.content.widgets.every(
            (cell) => cell.model.type !== 'code' || cell.model.executionCount)"""
        self.page.wait_for_function(done, timeout=1000 * timeout)

    def close(self) -> None:
        self.page.context.close()
