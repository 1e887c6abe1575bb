"""The page names the modules of its first view, so that a browser loads them at once."""

from __future__ import annotations

import re
from pathlib import Path

CLIENTS = Path(__file__).parents[2] / "clients"
PAGE = CLIENTS / "web" / "index.html"
FOLDERS = {"ui/src": CLIENTS / "web/src", "ui/client": CLIENTS / "js/src"}
IMPORT = re.compile(r'^(?:import|export)\b[^"]*?"(\.{1,2}/[^"]+)";$', re.MULTILINE)


def imports(path: Path) -> set[Path]:
    """The module and all modules that it imports when it is loaded."""
    found = {path}
    waiting = [path]
    while waiting:
        folder, text = waiting[-1].parent, waiting.pop().read_text()
        new = {(folder / name).resolve() for name in IMPORT.findall(text)} - found
        found |= new
        waiting += new
    return found


def test_modulepreload_names_the_modules_of_the_first_view() -> None:
    modules = {path.resolve() for path in imports(CLIENTS / "web/src/main.js") | imports(CLIENTS / "js/src/index.js")}
    addresses = {
        f"{address}/{path.relative_to(folder)}" for address, folder in FOLDERS.items() for path in modules if path.is_relative_to(folder)
    }
    expected = sorted(addresses | {"ui/vendor/socket.io.esm.min.js"})
    # No text between the elements: each line break there would be a node of the document.
    links = "\n>".join(f'<link rel="modulepreload" href="{address}"' for address in expected)
    assert links in PAGE.read_text(), f"write into {PAGE}:\n{links}"
