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
from typing import Any, NamedTuple, Protocol

from db.admission import MAX_AHEAD_SECONDS
from db.admitted import AdmittedQuotes, AdmittedTrades, UsualBatch
from db.bus import BusError, BusFenced, BusFull
from db.bus.fence import NO_FENCE, Fence
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
HAND_OVER_ATTEMPTS = 10  # to publish the pending batch, after a stop was requested
_HAND_OVER_PAUSE = 0.1  # seconds between two of them
_FENCE_PAUSE = 0.05  # between two looks for a higher number


class PriceBus(Protocol):
    """The part of the bus that ingestion needs."""

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None, *, fence: Fence = NO_FENCE) -> object:
        """Publish a batch, once in effect. Raises `BusError` if it must be sent again, and
        `BusFenced` if another process feeds this source.
        """

    def publish_trades(self, trades: Sequence[Trade] | UsualBatch, batch_id: str, *, fence: Fence = NO_FENCE) -> object:
        """Publish a batch of trades, once in effect."""


class Permit(Protocol):
    """The right to publish the records of a source: its present fence."""

    @property
    def fence(self) -> Fence:
        """The fence of the next batch."""

    def refuse(self, fence: Fence, stored: int) -> None:
        """Note that the bus has refused a batch with this fence, because it has `stored`."""


class Unfenced:
    """The permit of a source that no other process can feed."""

    fence = NO_FENCE

    def refuse(self, fence: Fence, stored: int) -> None:
        """Do nothing: the bus refuses no batch without a fence."""


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
        permit: Permit | None = None,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._permit = permit or Unfenced()
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
        self._pending_trades: AdmittedTrades | UsualBatch = AdmittedTrades()
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
        if isinstance(items, UsualBatch):
            trades: AdmittedTrades | UsualBatch = self._admission.trades(items)
        else:
            trades = self._admission.trades([each for each in items if isinstance(each, Trade)])
            quotes = [each for each in items if isinstance(each, Tick)]
        self._pending = self._admission.quotes([*quotes, *self._source.prices(raw, trades)])
        self._pending_trades = trades
        self._admission.end(len(trades) + len(self._pending))

    def _offer(self, stop: threading.Event) -> None:
        """Publish the pending batch until the bus accepts it, or for a moment after `stop`.

        If another process feeds the source, wait for a higher number or for `stop`.
        """
        attempt, began, last_attempts = 0, self._monotonic(), HAND_OVER_ATTEMPTS
        while self._pending or self._pending_trades:
            fence = self._permit.fence
            try:
                # After a failure of either call both are repeated: the bus recognises accepted
                # batches.
                if self._pending_trades:
                    self._bus.publish_trades(self._pending_trades, f"{self._publisher}/{self._batches}", fence=fence)
                if self._pending:
                    self._bus.publish_prices(self._pending, f"{self._publisher}/{self._batches}", fence=fence)
            except BusFenced as error:
                self._status.counts.retries.add(error.reason)
                self._permit.refuse(fence, error.stored)
                if not self._renewed(fence, stop):
                    return
                continue
            except BusError as error:
                attempt += 1
                self._refused(error)
            else:
                self._status.counts.publish.observe(self._monotonic() - began)
                self._accepted()
                return
            if stop.wait(min(retry_delay(attempt, self._jitter()), LONGEST_BUS_DELAY)):
                last_attempts -= 1
                if last_attempts < 0:
                    self._note_left("stopped before the bus accepted a batch")
                    return
                time.sleep(_HAND_OVER_PAUSE)

    def _renewed(self, fence: Fence, stop: threading.Event) -> bool:
        """Wait until the permit has another fence; return False if `stop` is set instead."""
        while self._permit.fence == fence:
            if stop.wait(_FENCE_PAUSE):
                self._note_left("another process feeds this source: a batch is left out")
                return False
        return True

    def _note_left(self, message: str) -> None:
        log.warning(message, extra={"source": self._source.name, "ticks": len(self._pending), "trades": len(self._pending_trades)})

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


class _Run(NamedTuple):
    """A source with its thread; `stop` ends both."""

    status: Status
    source: Source[Any]
    admission: SourceAdmission
    stop: threading.Event
    thread: LongLivedThread


class Ingestion:
    """The sources of a process, one thread each, and the thread that reports their states.

    `calendars` maps the existing instruments to their calendars. Sources may be added and ended
    while it runs; call both from one thread at a time.

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
        self._bus = bus
        self._calendars = calendars
        self._max_attempts = max_attempts
        self._clock = clock
        self._max_ahead_seconds = max_ahead_seconds
        self._link_changed = link_changed
        self._thread_failed = thread_failed
        self._counts = counts or SourceCounts()
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._runs: dict[str, _Run] = {}  # part -> its run; replaced as a whole, so that any thread may read it
        self._started = False
        self.statuses: list[Status] = []  # of the present sources
        reporter = Reporter(bus, self.statuses, self._changed, reported)
        self._reporting = LongLivedThread(
            reporter.run, name="ingest-reporter", stop=self._stop, on_failure=thread_failed, round_seconds=_REPORT_ROUND_SECONDS
        )
        for source in sources:
            self.add(source)

    @property
    def sources(self) -> dict[str, Source[Any]]:
        """Part -> its source."""
        return {part: run.source for part, run in self._runs.items()}

    def add(
        self, source: Source[Any], *, part: str | None = None, permit: Permit | None = None, stop: threading.Event | None = None
    ) -> None:
        """Add a source; its thread starts now, or with the others. `part` is its name here.

        The source ends after its pending batch when `stop` is set.
        """
        part, stop = part or source.name, stop or threading.Event()
        status = Status(
            source.name,
            self._clock,
            self._changed,
            part=part,
            stale_after=source.stale_after,
            link_changed=self._link_changed,
            counts=self._counts,
        )
        self._counts.expect(source.name, is_live=source.mode == "live")
        admission = SourceAdmission(status, self._calendars, self._clock, mode=source.mode, max_ahead_seconds=self._max_ahead_seconds)
        ingest = Ingest(source, self._bus, status, admission, max_attempts=self._max_attempts, permit=permit)
        thread = LongLivedThread(
            ingest.run,
            name=f"ingest-{part}",
            stop=stop,
            on_failure=self._thread_failed,
            may_return=status.is_over,  # a recording that is over, or a source that is down for good, returns early
            round_seconds=_SOURCE_ROUND_SECONDS,
        )
        self._runs = {**self._runs, part: _Run(status, source, admission, stop, thread)}
        self.statuses.append(status)
        if self._started:
            thread.start()

    def has_ended(self, part: str) -> bool:
        """Return True if the source has ended after its stop; it is removed then."""
        run = self._runs.get(part)
        if run is None:
            return True
        if not run.stop.is_set() or run.thread.is_alive():
            return False
        self._runs = {name: each for name, each in self._runs.items() if name != part}
        self.statuses.remove(run.status)
        return True

    def set_calendars(self, calendars: Mapping[str, str]) -> None:
        """Admit records of these instruments from now on."""
        self._calendars = calendars
        for run in self._runs.values():
            run.admission.set_calendars(calendars)

    def start(self) -> None:
        """Start every thread."""
        self._started = True
        for thread in self._threads():
            thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Request a stop of every source and wait at most `timeout` seconds; return True if all
        have ended.

        The states are reported until the sources have ended.
        """
        deadline = time.monotonic() + timeout
        for run in self._runs.values():
            run.stop.set()
        for run in self._runs.values():
            run.thread.join(max(0.0, deadline - time.monotonic()))
        self._stop.set()
        self._changed.set()
        self._reporting.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads())

    def _threads(self) -> list[LongLivedThread]:
        return [*(run.thread for run in self._runs.values()), self._reporting]
