"""What a job is, and what it works with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from apscheduler.triggers.base import BaseTrigger

from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from jobs.runtime.source_events import SourceEvents


@dataclass(frozen=True, slots=True)
class JobContext:
    """Everything that jobs share. `stop` ends ingestion; `stop_writing` ends the writers after it."""

    settings: Settings
    bus: Bus
    store: Store
    clock: Callable[[], datetime]
    stop: threading.Event = field(default_factory=threading.Event)
    stop_writing: threading.Event = field(default_factory=threading.Event)
    prepared: threading.Event = field(default_factory=threading.Event)  # set once a first start has its past
    failed: threading.Event = field(default_factory=threading.Event)  # set if a long-lived thread ended unexpectedly
    source_events: SourceEvents = field(default_factory=SourceEvents)

    def fail(self, thread: str) -> None:
        """Stop every job because the long-lived thread of that name ended unexpectedly."""
        self.failed.set()
        self.stop.set()


@dataclass(frozen=True, slots=True)
class Service:
    """A job that starts at once and runs as long as the process: `run` returns when told to stop. One that fails begins again."""

    id: str
    run: Callable[[JobContext], None]
    schedule: ClassVar[str] = "as long as the process"


@dataclass(frozen=True, slots=True)
class Timed:
    """A job that runs at moments, UTC. `run(context, as_of)` does what is due for the moment `as_of` and returns how many rows it wrote;
    done twice for the same moment, it leaves what once would have left.

    A run may start `grace_seconds` late; of several that were missed, the last is caught up. Runs never overlap: one that is due while
    another runs comes after it. One that fails is tried again `retries` times, after `retry_seconds`, then twice that, and so on.
    """

    id: str
    schedule: str  # the trigger in words
    trigger: BaseTrigger
    run: Callable[[JobContext, datetime], int]
    grace_seconds: int = 3600
    retries: int = 8  # a quarter of an hour, with these pauses
    retry_seconds: float = 5.0
