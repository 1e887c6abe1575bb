"""Start the whole system with the addresses and the number of REST processes as arguments.

.venv/bin/python scripts/start_observability_api.py --port 5000 --workers 2 --reload

Each argument stands for a setting; the other settings come from the environment and from .env, as
for `manage.py up`, which this script starts in its place.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace this process with `manage.py up`."""
    given = parser().parse_args(arguments)
    command = [sys.executable, str(ROOT / "manage.py"), "up", *(["--reload"] if given.reload else [])]
    os.execve(sys.executable, command, {**os.environ, **variables(given)})  # noqa: S606


def parser() -> argparse.ArgumentParser:
    """Return the arguments of the command."""
    made = argparse.ArgumentParser(description="Start the whole system: `manage.py up` with these settings.")
    made.add_argument("--host", metavar="HOST", help="address of REST and the hub (API_HOST and WEBSOCKET_HOST)")
    made.add_argument("--port", metavar="PORT", help="port of REST (API_PORT); WEBSOCKET_PORT is that of the hub")
    made.add_argument("--workers", metavar="NUMBER", help="number of REST processes (API_WORKERS)")
    made.add_argument("--reload", action="store_true", help="restart the processes whose files have changed; for development")
    return made


def variables(given: argparse.Namespace) -> dict[str, str]:
    """Return the settings that the arguments stand for; an argument that is left out sets none."""
    names = {"API_HOST": given.host, "WEBSOCKET_HOST": given.host, "API_PORT": given.port, "API_WORKERS": given.workers}
    return {name: value for name, value in names.items() if value is not None}


if __name__ == "__main__":
    main()
