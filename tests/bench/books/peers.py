"""The Python peers of order books, installed from PyPI into a virtual environment of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "peers/books"
LOOPS = FOLDER / "loops.py"
_REQUIREMENTS, _VENV = FOLDER / "requirements.txt", FOLDER / ".venv"
_INSTALLED = _VENV / ".installed-requirements"
PYTHON = _VENV / "bin/python"


def install() -> str | None:
    """Install the peers if their list has changed; return None, or the reason of a failure."""
    if _INSTALLED.is_file() and _INSTALLED.read_bytes() == _REQUIREMENTS.read_bytes():
        return None
    for argv in ([sys.executable, "-m", "venv", str(_VENV)], [str(PYTHON), "-m", "pip", "install", "--quiet", "-r", str(_REQUIREMENTS)]):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return f"{' '.join(argv[1:4])} failed: {done.stderr.strip()[-300:]}"
    _INSTALLED.write_bytes(_REQUIREMENTS.read_bytes())
    return None
