"""Run a part of the tests, and again after each change of a file, until Ctrl-C.

.venv/bin/python scripts/watch_tests.py unit
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOOK_SECONDS = 0.5  # between two looks at the files
SUFFIXES = (".py", ".lua", ".sql", ".toml", ".yml", ".yaml", ".json", ".sh", ".conf", ".cfg")
NOT_WATCHED = {"node_modules", "var", "__pycache__"}  # and folders whose name begins with a dot

Stamps = Mapping[str, tuple[int, int]]  # path -> time of the last change in nanoseconds, size


def stamps(root: Path) -> Stamps:
    """Return the stamps of the watched files below `root`."""
    return dict(_stamps(root))


def _stamps(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_WATCHED and not name.startswith(".")]
        for path in (os.path.join(folder, name) for name in files if name.endswith(SUFFIXES)):
            try:
                status = os.stat(path)
            except OSError:  # removed meanwhile
                continue
            yield path, (status.st_mtime_ns, status.st_size)


def wait_for_change(root: Path, before: Stamps) -> None:
    """Return when the files differ from `before` and a further look finds no other change."""
    current = stamps(root)
    while True:
        time.sleep(LOOK_SECONDS)
        previous, current = current, stamps(root)
        if current == previous != before:
            return


def main(arguments: Sequence[str] | None = None) -> None:
    """Run pytest; further arguments are passed on to it."""
    parser = argparse.ArgumentParser(description="Run a part of the tests again after each change of a file; Ctrl-C ends.")
    parser.add_argument("part", help="a folder or file below tests, such as unit or unit/test_wire.py")
    part, options = parser.parse_known_args(arguments)
    command = [sys.executable, "-m", "pytest", "-q", *options, str(ROOT / "tests" / part.part)]
    try:
        while True:
            before = stamps(ROOT)
            subprocess.run(command, cwd=ROOT, check=False)
            print("waiting for a change; Ctrl-C ends", flush=True)
            wait_for_change(ROOT, before)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
