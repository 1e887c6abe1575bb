"""Ingestion: runs each source in a thread, publishes its prices and trades, restarts it."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, Protocol

from db.admission import MAX_AHEAD_SECONDS
from db.admitted import AdmittedQuotes, AdmittedTrades, WellFormedTrades
from db.bus import BusError, BusFull
from db.messages import Tick, Trade
from health.measures.stages import PUBLISH, STAGES
from jobs.feeds.base import Source, State, retry_delay
from jobs.feeds.renewal import Restarts
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import ReportBus, Reporter, Status
from jobs.measures.sources import SourceCounts
from jobs.runtime.threads import LongLivedThread

log = logging.getLogger(__name__)

LONGEST_BUS_DELAY = 3.0
# With a full bus, one batch is accepted and the next refused, many times a second: that is one
# episode in the log.
FULL_EPISODE_SECONDS = 5.0
_SOURCE_ROUND_SECONDS = 60.0  # the longest silence of a connection and its publish calls
_REPORT_ROUND_SECONDS = 20.0  # the wait for the bus included


class PriceBus(Protocol):
    """The part of the bus that ingestion needs."""

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None) -> object:
        """Publish a batch, once in effect. Raises `BusError` if it must be sent again."""

    def publish_trades(self, trades: Sequence[Trade], batch_id: str) -> object:
        """Publish a batch of trades, once in effect."""


class IngestBus(PriceBus, ReportBus, Protocol):
    """The part of the bus that prices and reports need."""


class Ingest:
    """One source, from its first connection until `stop`, its end, or a fatal error.

    Records are checked before they are published. Each batch is published again under the same id
    until the bus accepts it. The source waits meanwhile.
    """

    def __init__(
        self,
        source: Source[Any],
        bus: PriceBus,
        status: Status,
        admission: SourceAdmission,
        *,
        max_attempts: int,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._bus = bus
        self._status = status
        self._admission = admission
        source.note_bad, source.count_refused = admission.note_bad, status.count_refused
        self._restarts = Restarts(status, max_attempts=max_attempts, jitter=jitter)
        self._jitter = jitter
        self._monotonic = monotonic
        self._publisher = f"{source.name}#{uuid.uuid4().hex}"  # batch ids differ from those of every earlier run
        self._batches = 0
        # the batch, number `_batches`, that the bus has not accepted yet
        self._pending = AdmittedQuotes()
        self._pending_trades = AdmittedTrades()
        self._received_at = monotonic()  # time of the last arrival
        self._full_at: float | None = None  # time of the last refusal by a full bus in this episode

    def run(self, stop: threading.Event) -> None:
        """Run until the source has ended, is down for good, or `stop` is set. Raises nothing."""
        self._restarts.run(self._drain, stop)

    def _drain(self, stop: threading.Event) -> None:
        self._offer(stop)  # left by an error that was not the bus's
        with closing(self._source.fetch(stop)) as raws:
            for raw in raws:
                self._received_at = self._monotonic()
                self._status.note_activity()
                self._admit(raw)
                if self._pending or self._pending_trades:
                    self._batches += 1
                    self._offer(stop)
                else:
                    self._accepted()  # a heartbeat: the connection is alive, and nothing is to be published
                if stop.is_set():
                    return

    def _admit(self, raw: Any) -> None:
        """Make the admitted records of an arrival the pending batch."""
        items = self._source.parse(raw)
        if not items:
            self._admission.end(0)
            return
        self._admission.begin()
        quotes: list[Tick] = []
        if isinstance(items, WellFormedTrades):
            trades = self._admission.trades(items)
        else:
            trades = self._admission.trades([each for each in items if isinstance(each, Trade)])
            quotes = [each for each in items if isinstance(each, Tick)]
        self._pending = self._admission.quotes([*quotes, *self._source.prices(raw, trades)])
        self._pending_trades = trades
        self._admission.end(len(trades) + len(self._pending))

    def _offer(self, stop: threading.Event) -> None:
        """Publish the pending batch until the bus accepts it or `stop` is set."""
        attempt, began = 0, self._monotonic()
        while self._pending or self._pending_trades:
            try:
                # After a failure of either call both are repeated: the bus recognises accepted
                # batches.
                if self._pending_trades:
                    self._bus.publish_trades(self._pending_trades, f"{self._publisher}/{self._batches}")
                if self._pending:
                    self._bus.publish_prices(self._pending, f"{self._publisher}/{self._batches}")
            except BusError as error:
                attempt += 1
                self._refused(error)
            else:
                self._status.counts.publish.observe(self._monotonic() - began)
                self._accepted()
                return
            if stop.wait(min(retry_delay(attempt, self._jitter()), LONGEST_BUS_DELAY)):
                log.warning(
                    "stopped before the bus accepted a batch",
                    extra={"source": self._source.name, "ticks": len(self._pending), "trades": len(self._pending_trades)},
                )
                return

    def _refused(self, error: BusError) -> None:
        self._status.counts.retries.add(error.reason)
        self._full_at = self._monotonic() if isinstance(error, BusFull) else None
        self._status.change(State.BACKING_OFF, f"bus: {error}")

    def _accepted(self) -> None:
        if self._pending or self._pending_trades:
            at = self._status.count(len(self._pending), len(self._pending_trades))
            is_live = self._source.mode == "live"
            self._status.counts.accepted(self._source.name, self._pending, self._pending_trades, at, is_live=is_live)
            STAGES.record(PUBLISH, self._monotonic() - self._received_at)
            STAGES.count("published", len(self._pending) + len(self._pending_trades))
            self._pending, self._pending_trades = AdmittedQuotes(), AdmittedTrades()
        self._restarts.succeeded()
        if self._full_at is not None and self._monotonic() - self._full_at < FULL_EPISODE_SECONDS:
            return
        self._full_at = None
        self._status.enter_live()


class Ingestion:
    """All sources of a process, one thread each, and the thread that reports their states.

    `calendars` maps the existing instruments to their calendars.

    `link_changed` is called with the name of a source when it connects or disconnects, in that
    source's thread. `thread_failed` is called with the name of a thread that ended unexpectedly.
    `reported` is called when the state of a source has changed.
    """

    def __init__(
        self,
        sources: Sequence[Source[Any]],
        bus: IngestBus,
        *,
        calendars: Mapping[str, str],
        max_attempts: int,
        clock: Callable[[], datetime],
        max_ahead_seconds: int = MAX_AHEAD_SECONDS,
        link_changed: Callable[[str], None] = lambda name: None,
        thread_failed: Callable[[str], None] = lambda name: None,
        reported: Callable[[], None] = lambda: None,
        counts: SourceCounts | None = None,
    ) -> None:
        counts = counts or SourceCounts()
        self._stop = threading.Event()
        self._changed = threading.Event()
        self.statuses = [
            Status(source.name, clock, self._changed, stale_after=source.stale_after, link_changed=link_changed, counts=counts)
            for source in sources
        ]
        runs = []
        self._admissions = []
        for source, status in zip(sources, self.statuses, strict=True):
            counts.expect(source.name, is_live=source.mode == "live")
            admission = SourceAdmission(status, calendars, clock, mode=source.mode, max_ahead_seconds=max_ahead_seconds)
            self._admissions.append(admission)
            runs.append(Ingest(source, bus, status, admission, max_attempts=max_attempts))
        self._threads = [
            # A recording that is over, or a source that is down for good, returns early.
            LongLivedThread(
                run.run,
                name=f"ingest-{status.name}",
                stop=self._stop,
                on_failure=thread_failed,
                may_return=status.is_over,
                round_seconds=_SOURCE_ROUND_SECONDS,
            )
            for run, status in zip(runs, self.statuses, strict=True)
        ]
        reporter = Reporter(bus, self.statuses, self._changed, reported)
        self._threads.append(
            LongLivedThread(
                reporter.run, name="ingest-reporter", stop=self._stop, on_failure=thread_failed, round_seconds=_REPORT_ROUND_SECONDS
            )
        )

    def set_calendars(self, calendars: Mapping[str, str]) -> None:
        """Admit records of these instruments from now on."""
        for admission in self._admissions:
            admission.set_calendars(calendars)

    def start(self) -> None:
        """Start every thread."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Request a stop of every source and wait at most `timeout` seconds; return True if all
        have ended.
        """
        self._stop.set()
        self._changed.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
