"""The addresses of this machine: while they change, Chromium ends all requests.

Tests run in several processes, and a network of namespaces has an address on this machine.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

_FOLDER = Path(tempfile.gettempdir())
_users = 0  # blocks of `unchanged` in this process


@contextmanager
def unchanged() -> Iterator[None]:
    """Let no process of tests change the addresses during the block. Blocks may be nested."""
    global _users
    with ExitStack() as stack:
        if not _users:
            # A change that waits holds the gate, so that it comes before the next block.
            with _locked("gate", fcntl.LOCK_EX):
                stack.enter_context(_locked("network", fcntl.LOCK_SH))
        _users += 1
        try:
            yield
        finally:
            _users -= 1


@contextmanager
def changing() -> Iterator[None]:
    """Change the addresses in the block: no browser of a test is open meanwhile."""
    with _locked("gate", fcntl.LOCK_EX), _locked("network", fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(name: str, kind: int) -> Iterator[IO[str]]:
    """Hold a lock. The end of the process releases it too."""
    with (_FOLDER / f"tickwire-tests-{os.getuid()}.{name}").open("w") as file:
        fcntl.flock(file, kind)
        yield file
