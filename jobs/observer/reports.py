"""Reports from the bus into the store: group, fold, one transaction, acknowledge.

A report takes effect once: its id is stored in the transaction of its effect, and it stays on the
bus until its events are published. A process that is killed before that leaves it to the next one,
which publishes the events again, with the same ids.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Protocol, runtime_checkable

from config.pacing import Answer, Outage, Stopped, StopSignal, Throttle, retry
from db.bus import BusError, QueuedReport
from db.figures.conversion import Rates
from db.instruments import all_instruments
from db.measures import Counts
from db.postgres import RowError, StoreError
from db.reports.model import KINDS, Report, to_json
from jobs.observer.collectors.base import ObserverContext
from jobs.observer.events import Event, events_of, system_event
from jobs.observer.fold.batch import Folded, FoldTerms, fold
from jobs.observer.fold.days import day_of
from jobs.observer.fold.positions import DayTerms
from jobs.store.retention import fill_days

log = logging.getLogger(__name__)

BATCH = 2_000  # reports of one transaction
MAX_BATCH = 10_000  # while more wait: a late report computes its position once per batch
WAIT_MS = 250
DRAIN_SECONDS = 5.0  # for the waiting reports, after a stop is requested
DAY_DELAY = timedelta(seconds=5)  # after 00:00 the store has the prices of that moment
_RETRY_SECONDS = 1.0
# Of the publish of events while Redis answers: it has no memory left, for example, which the
# acknowledgement of the reports would free.
_PUBLISH_ATTEMPTS = 5
ACCEPTED, DUPLICATE, REJECTED = OUTCOMES = ("accepted", "duplicate", "rejected")
UNREADABLE = "unreadable"  # the kind of an entry that cannot be read
# A single report that raises one of these can never be stored.
_BAD = (RowError, ArithmeticError, ValueError)


@runtime_checkable
class Listener(Protocol):
    """A part that follows the stored reports."""

    def folded(self, result: Folded) -> None:
        """Take over the effect of a committed batch. Called in the order of commits.

        It is called again after a `StoreError`, which must have no effect.
        """


class ReportFolder:
    """The loop that folds reports. Its counters may be read by any thread."""

    def __init__(self, context: ObserverContext, listeners: Sequence[Listener], rates: Callable[[], Rates]) -> None:
        self._context = context
        self._bus = context.bus
        self._listeners = listeners
        self._rates = rates
        self._currencies: dict[str, str] = {}  # symbol -> currency
        self._day: date | None = None  # of the last checkpoints
        self._bus_outage = Outage(log, "reports wait for the bus", monotonic=time.monotonic)
        self._store_outage = Outage(log, "reports wait for the store", monotonic=time.monotonic)
        self._throttle = Throttle(monotonic=time.monotonic)
        self._unpublished = 0  # attempts in a row to publish events
        self.stored = self.duplicates = self.conflicts = self.refused = self.recomputed = 0
        # (kind, outcome); a report with another content than the stored one of its id is rejected
        self.outcomes = Counts(*((kind, outcome) for kind in KINDS for outcome in OUTCOMES), (UNREADABLE, REJECTED))

    def run(self, stop: StopSignal) -> None:
        """Fold until `stop` is set; then fold the waiting reports, for at most `DRAIN_SECONDS`."""
        deadline: float | None = None
        count = BATCH
        opened = again = False  # `again`: no report that was read before waits any more
        while deadline is None or time.monotonic() < deadline:
            if deadline is None and stop.is_set():
                deadline = time.monotonic() + DRAIN_SECONDS
            try:
                if not opened:
                    self._bus.open_reports()
                    opened, again = True, True
                batch = self._bus.read_reports(count, 0 if deadline else WAIT_MS, again=again, note_bad=self._note_bad)
                if not batch and not again and deadline is not None:
                    return
                count = min(MAX_BATCH, 2 * count) if len(batch) == count else BATCH
                self._take(batch, again, stop)
                again = again and bool(batch)
                self._bus_outage.recovered()
            except BusError as error:
                self._bus_outage.failed(error)
                opened = False  # Redis may have lost the group, and an acknowledgement
                if stop.wait(_RETRY_SECONDS):
                    return
            except Stopped:
                return

    def _begin_day(self, stop: StopSignal) -> None:
        """Store the checkpoints of a day that has begun, also without a report."""
        now = self._context.clock()
        if self._day != day_of(now - DAY_DELAY, self._context.settings.obs_day_zone):
            self._count(self._retried(partial(self._commit, []), stop), stop)

    def _take(self, batch: Sequence[QueuedReport], again: bool, stop: StopSignal) -> None:
        """Store a batch, publish its events, acknowledge it. Raises `BusError` and `Stopped`."""
        if not batch:
            self._begin_day(stop)
            return
        self._publish(self._folded(batch, again, stop))
        self._bus.acknowledge_reports([each.entry for each in batch])

    def _folded(self, batch: Sequence[QueuedReport], again: bool, stop: StopSignal) -> list[Event]:
        """Store the batch; one by one if a report of it cannot be stored. Returns the events."""
        try:
            result = self._retried(partial(self._commit, batch, again), stop)
        except _BAD as error:
            if len(batch) == 1:
                return [self._refused(batch[0], error)]
        else:
            self._count(result, stop)
            return list(events_of(result, self._context.clock()))
        return [event for each in batch for event in self._folded([each], again, stop)]

    def _commit(self, batch: Sequence[QueuedReport], again: bool = False) -> Folded:
        terms = self._terms({each.report.symbol for each in batch if hasattr(each.report, "symbol")})
        with self._context.store.transaction() as cursor:
            result = fold(cursor, batch, terms, again=again)
        self._day = terms.days.today
        return result

    def _count(self, result: Folded, stop: StopSignal) -> None:
        self.stored += len(result.new)
        self.duplicates += result.duplicates
        self.conflicts += len(result.conflicts)
        self.recomputed += result.recomputed
        self._note_outcomes(ACCEPTED, (each.report for each in result.new))
        self._note_outcomes(DUPLICATE, result.repeated)
        self._note_outcomes(REJECTED, result.conflicts)
        for listener in self._listeners:
            self._retried(partial(listener.folded, result), stop)

    def _note_outcomes(self, outcome: str, reports: Iterable[Report]) -> None:
        for kind, number in Counter(each.kind for each in reports).items():
            self.outcomes.add(kind, outcome, by=number)

    def _retried(self, call: Callable[[], Answer], stop: StopSignal) -> Answer:
        """The result of the call, as soon as the store works. Raises `Stopped`."""
        return retry(call, on=StoreError, stop=stop, outage=self._store_outage, pause=lambda attempt: _RETRY_SECONDS)

    def _terms(self, symbols: set[str] | None = None) -> FoldTerms:
        settings, now = self._context.settings, self._context.clock()
        if symbols and not symbols <= self._currencies.keys():
            with self._context.store.transaction() as cursor:
                self._currencies = {each.symbol: each.currency for each in all_instruments(cursor, disabled=True)}
        today = day_of(now - DAY_DELAY, settings.obs_day_zone)
        kept = fill_days(settings)
        oldest: datetime | None = now - timedelta(days=kept) if kept else None
        days = DayTerms(settings.obs_day_zone, today, settings.obs_mark, self._rates())
        return FoldTerms(days, self._currencies, oldest, begins_day=self._day != today)

    def _refused(self, each: QueuedReport, error: Exception) -> Event:
        """Record a report that cannot be stored; it is acknowledged, so that others continue."""
        self.refused += 1
        self.outcomes.add(each.report.kind, REJECTED)
        fields = {"entry": each.entry.decode(errors="replace"), "report": to_json(each.report).decode(), "reason": str(error)}
        log.error("a report cannot be stored and is left out", extra=fields)
        details = {"bot": each.report.bot, "kind": each.report.kind, "id": each.report.id}
        message = "A report cannot be stored and is left out."
        name = f"{each.report.bot}:refused:{each.report.kind}:{each.report.id}"
        return system_event(name, "component_error", self._context.clock(), "reports", "refused", message, details)

    def _note_bad(self, entry: bytes, error: ValueError) -> None:
        self.refused += 1
        self.outcomes.add(UNREADABLE, REJECTED)
        if self._throttle.due("entry") is not None:
            fields = {"entry": entry.decode(errors="replace"), "reason": str(error)}
            log.error("an entry of the reports cannot be read and is removed (repeats suppressed for 60 s)", extra=fields)

    def _publish(self, events: Sequence[Event]) -> None:
        """Publish events. Raises `BusError`: the batch is read again, and its events with it.

        If a Redis that answers refuses them several times, they are lost.
        """
        if not events:
            return
        try:
            self._bus.publish_events(events)
        except BusError as error:
            self._unpublished += 1
            if self._unpublished < _PUBLISH_ATTEMPTS:
                raise
            if self._throttle.due("events") is not None:
                log.warning("events are not published (repeats suppressed for 60 s)", extra={"reason": str(error)})
        self._unpublished = 0
