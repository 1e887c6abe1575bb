"""Kinds of jobs, and the context that they share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from jobs.measures.counts import JobsMeasures
from jobs.runtime.reports import Acting
from jobs.runtime.source_events import SourceEvents

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


@dataclass(frozen=True, slots=True)
class JobContext:
    """Everything that jobs share. `stop` ends the job that has this context."""

    settings: Settings
    bus: Bus
    store: Store
    clock: Callable[[], datetime]
    stop: threading.Event = field(default_factory=threading.Event)
    prepared: threading.Event = field(default_factory=threading.Event)  # set when the past of a first start is made
    failed: threading.Event = field(default_factory=threading.Event)  # set if a long-lived thread ended unexpectedly
    source_events: SourceEvents = field(default_factory=SourceEvents)
    acting: Acting = field(default_factory=Acting)  # for the report of this process
    measures: JobsMeasures = field(default_factory=JobsMeasures)  # since its start

    def fail(self, thread: str) -> None:
        """Stop every job because the long-lived thread of that name ended unexpectedly."""
        self.failed.set()
        self.stop.set()


@dataclass(frozen=True, slots=True)
class Service:
    """A job that runs as long as a process has its duty."""

    id: str
    schedule: ClassVar[str] = "as long as the process"


@dataclass(frozen=True, slots=True)
class Timed:
    """A job that runs at given times, UTC.

    `run(context, as_of)` does the work that is due at `as_of` and returns the number of rows
    written. A second run for the same time must leave the same rows.

    A run may start `grace_seconds` late. If several times were missed, the last one is caught up.
    Runs never overlap: a run that is due during another one follows it. A failed run is repeated
    `retries` times, after `retry_seconds`, twice that, and so on.
    """

    id: str
    schedule: str  # the trigger in words
    trigger: BaseTrigger
    run: Callable[[JobContext, datetime], int]
    grace_seconds: int = 3600
    retries: int = 8  # about 15 minutes with the pauses between them
    retry_seconds: float = 5.0
