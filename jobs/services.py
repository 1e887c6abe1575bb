"""The jobs that run as long as the process: prices in, rows and candles out, alerts on their way."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from config.pacing import Stopped
from db.bus import BusError
from db.candles import latest_closes
from db.instruments import all_instruments
from db.postgres import StoreError
from db.prices import latest_mids, latest_times
from jobs.feeds.context import SourceContext
from jobs.feeds.ingest import Ingestion
from jobs.feeds.synthetic_past import make_past
from jobs.figures.alerts import keep_publishing
from jobs.gaps.filler import fillers
from jobs.runtime.context import JobContext
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, PriceQueue, TradeQueue, Writer
from jobs.venues import build, walked

log = logging.getLogger(__name__)


def write_prices(context: JobContext) -> None:
    """Bus → store, prices."""
    Writer(context.bus, context.store, _rule(context), PriceQueue(context.bus)).run(context.stop_writing)


def write_trades(context: JobContext) -> None:
    """Bus → store, trades."""
    Writer(context.bus, context.store, _rule(context), TradeQueue(context.bus)).run(context.stop_writing)


def _rule(context: JobContext) -> BatchRule:
    return BatchRule(context.settings.batch_size, context.settings.batch_timeout_ms)


def ingest(context: JobContext) -> None:
    """Sources → bus, until `stop`."""
    if (source_context := _source_context(context)) is None:
        return
    context.prepared.set()
    sources = [build(spec, source_context) for spec in context.settings.sources]
    try:
        context.bus.forget_sources()
    except BusError as error:
        log.warning("cannot clear the sources' last reports: %s", error)
    attempts = context.settings.max_reconnect_attempts
    ingestion = Ingestion(sources, context.bus, max_attempts=attempts, clock=context.clock, link_changed=context.source_events.set)
    ingestion.start()
    log.info("ingestion started", extra={"sources": [source.name for source in sources]})
    context.stop.wait()
    ingestion.stop(timeout=5.0)


def fill_gaps(context: JobContext) -> None:
    """History → store: what the live streams missed, until `stop`."""
    threads = [
        threading.Thread(target=filler.run, args=(context.stop,), name=f"gaps-{filler.name}", daemon=True)
        for filler in fillers(context.settings, context.store, context.bus, context.clock, context.source_events)
    ]
    for thread in threads:
        thread.start()
    context.stop.wait()
    for thread in threads:
        thread.join(1.0)  # one that waits for an answer is left behind: whatever it has not committed is found missing again


def build_candles(context: JobContext) -> None:
    """Store → store: prices and trades become candles. The writer may be a batch behind the clock."""
    grace = timedelta(seconds=1, milliseconds=context.settings.batch_timeout_ms)
    RollUp(context.store, context.bus, context.clock, grace=grace).run(context.stop)


def publish_alerts(context: JobContext) -> None:
    """Store → bus: alerts that a run stored and could not publish."""
    keep_publishing(context.store, context.bus, context.clock, context.stop)


def _source_context(context: JobContext) -> SourceContext | None:
    """What sources are built from; a store or a bus that is away is waited for. None where `stop` came first."""
    waited = False
    while not context.stop.is_set():
        try:
            with context.store.transaction() as cursor:
                instruments = all_instruments(cursor)
            walks = walked(SourceContext(context.settings, instruments, {}, context.clock))
            make_past(context.store, walks, context.settings.synthetic_seed, context.clock(), context.stop)
            with context.store.transaction() as cursor:
                latest, times = {**latest_closes(cursor), **latest_mids(cursor)}, latest_times(cursor)
            # What the bus took just before the last end is not stored yet.
            on_bus = context.bus.latest_times(times)
        except Stopped:
            return None
        except (StoreError, BusError) as error:
            if not waited:
                log.warning("jobs wait for the %s: %s", "store" if isinstance(error, StoreError) else "bus", error)
            waited = True
            context.stop.wait(0.5)
        else:
            newest = {symbol: max(moment, on_bus.get(symbol, moment)) for symbol, moment in times.items()}
            return SourceContext(context.settings, instruments, latest, context.clock, newest)
    return None
