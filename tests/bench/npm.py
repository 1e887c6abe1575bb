"""Peers from npm, installed into their folders from their lock files if these have changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class NodePackage:
    """A folder with package.json and package-lock.json."""

    folder: Path

    def install(self) -> str | None:
        """Install the packages; return None, or the reason if they cannot be used."""
        node = shutil.which("node")
        if node is None:
            return "node is not installed"
        if self._is_installed():
            return None
        done = subprocess.run(
            [*_npm(Path(node)), "ci", "--silent", "--no-audit", "--no-fund"], cwd=self.folder, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            return f"npm ci failed: {done.stderr.strip()[-500:]}"
        self._installed.write_bytes(self._lock.read_bytes())
        return None

    def version(self, *command: str) -> str:
        """Return the output of a command in the folder, empty if the packages are not installed."""
        program = shutil.which(command[0], path=f"{self.folder / 'node_modules/.bin'}:{os.environ.get('PATH', '')}")
        if not self._is_installed() or program is None:
            return ""
        output = subprocess.run([program, *command[1:]], cwd=self.folder, capture_output=True, text=True, timeout=30)
        return output.stdout.strip()

    @property
    def _lock(self) -> Path:
        return self.folder / "package-lock.json"

    @property
    def _installed(self) -> Path:
        return self.folder / "node_modules/.installed-lock"

    def _is_installed(self) -> bool:
        return self._installed.is_file() and self._installed.read_bytes() == self._lock.read_bytes()


NODE, BUN = NodePackage(_PEERS / "node"), NodePackage(_PEERS / "bun")


def versions() -> dict[str, str]:
    """Return the versions of the peers; those that are not installed are left out."""
    found = {
        "Node and Socket.IO": NODE.version("node", "-p", "process.version+' '+require('socket.io/package.json').version"),
        "Bun": BUN.version("bun", "--version"),
    }
    return {name: text for name, text in found.items() if text}


def _npm(node: Path) -> list[str]:
    """Return the command of npm beside node.

    In the wheel from PyPI, `bin/npm` is a copy instead of a link and does not find its modules.
    """
    script = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    return [str(node), str(script)] if script.is_file() else ["npm"]
