"""Services of the jobs process: ingestion, writers, roll-up, gap filling, publishing of alerts."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from config.pacing import Outage, Stopped, retry
from db import topics
from db.admission import open_windows
from db.bus import BusError
from db.instrument_changes import InstrumentChanges
from db.instruments import all_instruments, calendars_of
from db.messages import Stamp
from db.postgres import StoreError
from db.prices import latest_positions, latest_prices, latest_times
from jobs.feeding import Feeding, make_pasts
from jobs.feeds.context import SourceContext
from jobs.figures.alerts import keep_publishing
from jobs.runtime.context import JobContext
from jobs.runtime.threads import LongLivedThread
from jobs.store.book_queue import BookQueue
from jobs.store.queues import PriceQueue, TradeQueue
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, Writer
from jobs.venues import feeds, gap_fillers, walked

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0  # between two beats of a service that waits for its stop
_INSTRUMENTS_ROUND_SECONDS = 20.0  # statements of a change, and the past of an added instrument
_GAP_ROUND_SECONDS = 60.0  # the longest wait for one page of a history and its transaction
_RETRY_SECONDS = 0.5  # between two attempts to read the context of sources


def write_prices(context: JobContext) -> None:
    """Move prices from the bus to the store."""
    queue = PriceQueue(context.bus, max_ahead_seconds=context.settings.source_max_ahead_seconds)
    Writer(context.bus, context.store, _rule(context), queue, context.measures.writer).run(context.stop_writing)


def write_trades(context: JobContext) -> None:
    """Move trades from the bus to the store."""
    queue = TradeQueue(context.bus, context.clock, max_ahead_seconds=context.settings.source_max_ahead_seconds)
    Writer(context.bus, context.store, _rule(context), queue, context.measures.writer).run(context.stop_writing)


def write_books(context: JobContext) -> None:
    """Move tops and whole books from the bus to the store."""
    queue = BookQueue(context.bus, context.clock, max_ahead_seconds=context.settings.source_max_ahead_seconds)
    Writer(context.bus, context.store, _rule(context), queue, context.measures.writer).run(context.stop_writing)


def _rule(context: JobContext) -> BatchRule:
    return BatchRule(context.settings.batch_size, context.settings.batch_timeout_ms)


def ingest(context: JobContext) -> None:
    """Run every source of `SOURCES` until `stop` is set, from the sources to the bus."""
    if context.stop.is_set():
        return
    try:
        source_context = _source_context(context)
    except Stopped:
        return
    context.prepared.set()
    feeding = Feeding(context, source_context)
    known = [*source_context.instruments, *source_context.disabled]
    changes = InstrumentChanges(context.bus, context.store, known, each_round=feeding.set_on_bus)
    changes.listen(feeding.take)
    follower = LongLivedThread(
        changes.run, name="instruments", stop=context.stop, on_failure=context.fail, round_seconds=_INSTRUMENTS_ROUND_SECONDS
    )
    feeding.ingestion.start()
    follower.start()
    context.acting.statuses = feeding.ingestion.statuses
    context.acting.changed.set()
    log.info("ingestion started", extra={"sources": [source.name for source in feeding.sources]})
    while not context.stop.wait(_STOP_SECONDS):
        pass
    if not feeding.ingestion.stop(timeout=5.0):
        log.warning("a source did not stop in time")
    follower.join(1.0)


def fill_gaps(context: JobContext) -> None:
    """Fill the store with the items that live streams missed, from the histories, until `stop` is
    set.
    """
    threads = [
        LongLivedThread(
            filler.run, name=f"gaps-{filler.name}", stop=context.stop, on_failure=context.fail, round_seconds=_GAP_ROUND_SECONDS
        )
        for filler in gap_fillers(context)
    ]
    for thread in threads:
        thread.start()
    while not context.stop.wait(_STOP_SECONDS):
        pass
    for thread in threads:
        # A thread that still waits for an answer is abandoned. The next process finds the
        # uncommitted rows missing again.
        thread.join(1.0)


def build_candles(context: JobContext) -> None:
    """Build candles from stored prices and trades. The writer may be one batch behind the clock."""
    grace = timedelta(seconds=1, milliseconds=context.settings.batch_timeout_ms)
    RollUp(context.store, context.bus, context.clock, grace=grace).run(context.stop)


def publish_alerts(context: JobContext) -> None:
    """Publish the alerts that a run stored and could not publish."""
    keep_publishing(context.store, context.bus, context.clock, context.stop)


def _source_context(context: JobContext) -> SourceContext:
    """The context in which sources are built, as soon as store and bus answer. Raises `Stopped`."""

    def read() -> SourceContext:
        settings, store = context.settings, context.store
        with store.transaction() as cursor:
            known = all_instruments(cursor, disabled=True)
        instruments = [each for each in known if each.enabled]
        walks = walked(SourceContext(settings, instruments, {}, context.clock))
        make_pasts(context, walks)
        calendars = calendars_of(instruments)
        windows = open_windows("live", calendars, context.clock(), max_ahead_seconds=settings.source_max_ahead_seconds)
        with store.transaction() as cursor:
            latest = latest_prices(cursor, windows)
            times = latest_times(cursor, windows)
            positions = latest_positions(cursor, windows)
        context.bus.forget_former_numbers()
        lost = context.bus.renew_if_behind(topics.PRICES, {symbol: Stamp(*position) for symbol, position in positions.items()})
        if lost is not None:
            log.error("the bus has lost data", extra={"epoch": lost})
        context.bus.set_instruments(calendars, settings.source_max_ahead_seconds, fed_by=feeds(settings, instruments))
        # An earlier process may have published prices that are not stored yet.
        on_bus = {symbol: moment for symbol, moment in context.bus.latest_times(times).items() if windows[symbol].contains(moment)}
        newest = {symbol: max(moment, on_bus.get(symbol, moment)) for symbol, moment in times.items()}
        disabled = [each for each in known if not each.enabled]
        return SourceContext(settings, instruments, latest, context.clock, newest, disabled)

    outage = Outage(log, "jobs wait for the store or the bus", monotonic=time.monotonic)
    return retry(read, on=(StoreError, BusError), stop=context.stop, outage=outage, pause=lambda attempt: _RETRY_SECONDS)
