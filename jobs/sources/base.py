"""What every source of prices is, how its faults are named, and how long to wait after one.

A source is two halves: `fetch` does the I/O and the waiting, `parse` is pure. `jobs.ingest` runs it and owns
everything that sources share: restarts, states, publishing.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Generator
from enum import StrEnum
from typing import Generic, TypeVar

from db.bus import Tick

Raw = TypeVar("Raw")

FIRST_DELAY = 0.8  # seconds; the first retry comes in under a second
LONGEST_DELAY = 30.0


class State(StrEnum):
    """Where a source stands; the words that logs and /health use."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"  # connected, but silent for longer than it should be; live feeds alone can say so
    BACKING_OFF = "backing_off"
    DOWN = "down"
    ENDED = "ended"  # a recording that is over


class Source(ABC, Generic[Raw]):
    """One feed of prices. Its methods are called from one thread.

    `name` is what logs, health and the store call it, different for every source of a process.
    """

    name: str

    @abstractmethod
    def fetch(self, stop: threading.Event) -> Generator[Raw, None, None]:
        """Connect, wait, and yield what arrives, until `stop` is set, which it honours at once.

        Returns without `stop` only where the source is over for good. Called again after a fault, it goes on where it was:
        what it has yielded is not yielded again. Raises nothing but `SourceError`.
        """

    @abstractmethod
    def parse(self, raw: Raw) -> list[Tick]:
        """The ticks in what `fetch` yielded, in order, maybe none. Pure: the same raw always gives the same ticks."""


class SourceError(Exception):
    """The only exception that leaves a source. `fatal`: trying again cannot help, an operator must."""

    def __init__(self, message: str, *, fatal: bool) -> None:
        super().__init__(message)
        self.fatal = fatal


class BadInput(Exception):
    """What the source was given cannot be used: a file of unknown format, a refused token."""


_FATAL = (BadInput, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def as_source_error(error: Exception) -> SourceError:
    """Translate any failure of a source. The one place that tells transient from fatal."""
    if isinstance(error, SourceError):
        return error
    return SourceError(str(error) or type(error).__name__, fatal=isinstance(error, _FATAL))


def backoff(attempt: int, jitter: float) -> float:
    """Seconds to wait before retry `attempt` (from 1): doubling from under 1 s to 30 s at most.

    `jitter` in [0, 1] spreads the wait over its upper half, so that what broke together does not return together.
    """
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(attempt - 1, 16))
    return float(longest * (1 + jitter) / 2)
