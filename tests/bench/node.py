"""Socket.IO for Node, installed into peers/node from its lock file if it has changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "peers/node"
_LOCK, _INSTALLED = FOLDER / "package-lock.json", FOLDER / "node_modules/.installed-lock"


def install() -> str | None:
    """Install the peer; return None, or the reason if it cannot be started."""
    node = shutil.which("node")
    if node is None:
        return "node is not installed"
    if _INSTALLED.is_file() and _INSTALLED.read_bytes() == _LOCK.read_bytes():
        return None
    done = subprocess.run(
        [*_npm(Path(node)), "ci", "--silent", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        return f"npm ci failed: {done.stderr.strip()[-500:]}"
    _INSTALLED.write_bytes(_LOCK.read_bytes())
    return None


def version() -> str:
    """Return the versions of Node and Socket.IO, empty if they are not installed."""
    if not _INSTALLED.is_file() or shutil.which("node") is None:
        return ""
    output = subprocess.run(["node", "-p", "process.version+' '+require('socket.io/package.json').version"], cwd=FOLDER,
                          capture_output=True, text=True, timeout=30)  # fmt: skip
    return output.stdout.strip()


def _npm(node: Path) -> list[str]:
    """Return the command of npm beside node.

    In the wheel from PyPI, `bin/npm` is a copy instead of a link and does not find its modules.
    """
    script = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    return [str(node), str(script)] if script.is_file() else ["npm"]
