"""Renames in the data directory that happen together, also if the process is killed in between."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ops.private_files import sync, write_private

log = logging.getLogger(__name__)

FILE = "moves.json"  # the renames that have begun

# Names relative to the data directory: (from, to).
Move = tuple[str, str]


def move(hub_dir: Path, moves: Iterable[Move]) -> None:
    """Rename in this order. No target may exist, except one that an earlier move has renamed.

    After a crash, `finish` at the next start does the rest.
    """
    write_private(hub_dir / FILE, json.dumps(list(moves)) + "\n")
    finish(hub_dir)


def finish(hub_dir: Path) -> None:
    """Complete the renames that a killed process has begun. The caller holds the data directory."""
    file = hub_dir / FILE
    if not file.is_file():
        return
    for source, target in json.loads(file.read_text()):
        # A move that was done has its target, or no source any more.
        if (hub_dir / source).exists() and not (hub_dir / target).exists():
            (hub_dir / source).rename(hub_dir / target)
            log.info("renamed", extra={"path": str(hub_dir / source), "target": str(hub_dir / target)})
    for folder in {(hub_dir / name).parent for pair in json.loads(file.read_text()) for name in pair}:
        if folder.is_dir():
            sync(folder)
    file.unlink()
    sync(hub_dir)
