"""The React app of docs/cookbook-react.md, built by Vite and opened without a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops import running
from tests.conftest import until
from tests.examples.blocks import blocks, substituted
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running

PACKAGES = ROOT / "tests" / "js" / "react"
_MIN_NODE = (20, 19)  # of Vite 8
_HTML = '<!doctype html><html><body><div id="root"></div><script type="module" src="/src/main.jsx"></script></body></html>'
# as `npm create vite@latest -- --template react` writes it
_MAIN = """import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import App from "./App.jsx";
createRoot(document.getElementById("root")).render(<StrictMode><App /></StrictMode>);
"""


def node_is_new_enough() -> bool:
    """Return whether Vite runs on the installed Node."""
    node = shutil.which("node")
    if node is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2]) >= _MIN_NODE


def make_project(folder: Path, places: Mapping[str, str], *, proxied: bool) -> None:
    """Write the files of the document as a project and build it.

    `proxied` selects the page that uses Vite's proxy; without it, the one that names the addresses.
    """
    for block in blocks("jsx"):
        name, text = re.match(r"// (\S+)\n(.*)", block.text, re.DOTALL).groups()  # type: ignore[union-attr]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(substituted(text, places))
    if proxied:
        (folder / "src/main.jsx").write_text(_MAIN)
    (folder / "index.html").write_text(_HTML)
    (folder / "package.json").write_text('{"type": "module"}')
    modules = folder / "node_modules"
    modules.mkdir()
    for package in (PACKAGES / "node_modules").iterdir():
        (modules / package.name).symlink_to(package)
    client = modules / "tickwire-client"  # as `npm install --install-links` copies it
    shutil.copytree(ROOT / "clients/js/src", client / "src")
    shutil.copy(ROOT / "clients/js/package.json", client)
    done = subprocess.run(_vite("build", "--logLevel", "warn"), cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class ReactPage:
    """The page in happy-dom; `shown` is its text and the number of points of its chart."""

    def __init__(self, program: Running) -> None:
        self._program = program

    @property
    def shown(self) -> tuple[str, int]:
        """The last text and number of points; errors of the page fail the test."""
        lines = self._program.output().splitlines()
        if not lines or not lines[-1].startswith("{"):
            return "", 0
        state: dict[str, Any] = json.loads(lines[-1])
        return str(state["text"]), int(state["points"])

    @property
    def texts(self) -> list[str]:
        """Every text that the page has shown."""
        return [str(json.loads(line)["text"]) for line in self._program.output().splitlines() if line.startswith("{")]


@contextmanager
def opened(folder: Path) -> Iterator[ReactPage]:
    """Serve the built project with Vite's proxy, and open its page."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    preview = Running(["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *_vite(*_preview(port))], {}, folder / "preview.log")
    page = Running([_node(), str(PACKAGES / "page.mjs"), url], {}, folder / "page.log")
    with preview:
        until(lambda: running.get(url, "/")[0], 60, lambda: f"Vite's server: {preview.output()[-2000:]}")
        with page:
            yield ReactPage(page)


def _preview(port: int) -> list[str]:
    return ["preview", "--port", str(port), "--strictPort", "--host", "127.0.0.1"]


def _vite(*arguments: str) -> list[str]:
    return [_node(), str(PACKAGES / "node_modules/vite/bin/vite.js"), *arguments]


def _node() -> str:
    node = shutil.which("node")
    assert node is not None, "Node is needed; `make test` installs one"
    return node
