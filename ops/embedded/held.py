"""The data directory of a stopped system, held by a command that replaces its data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import running
from ops.process import Unfit


@contextmanager
def held(hub_dir: Path, command: str) -> Iterator[int]:
    """Hold the data directory for the block, which gets the lock for its children.

    Raises `Unfit` if a system runs on it.
    """
    running.prepare_data_dir(hub_dir)
    try:
        with running.locked(hub_dir) as lock:
            yield lock
    except running.Busy as error:
        raise Unfit(f"{error}; {command} needs a stopped system") from error
