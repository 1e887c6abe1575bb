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
from jobs.runtime.context import Work
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, Prices, Trades, Writer
from jobs.venues import build, walked

log = logging.getLogger(__name__)


def write_prices(work: Work) -> None:
    """Bus → store, prices."""
    Writer(work.bus, work.store, _rule(work), Prices(work.bus)).run(work.stop_writing)


def write_trades(work: Work) -> None:
    """Bus → store, trades."""
    Writer(work.bus, work.store, _rule(work), Trades(work.bus)).run(work.stop_writing)


def _rule(work: Work) -> BatchRule:
    return BatchRule(work.settings.batch_size, work.settings.batch_timeout_ms)


def ingest(work: Work) -> None:
    """Sources → bus, until `stop`."""
    if (source_context := _source_context(work)) is None:
        return
    work.prepared.set()
    sources = [build(spec, source_context) for spec in work.settings.sources]
    try:
        work.bus.forget_sources()
    except BusError as error:
        log.warning("cannot clear the sources' last reports: %s", error)
    attempts = work.settings.max_reconnect_attempts
    ingestion = Ingestion(sources, work.bus, max_attempts=attempts, clock=work.clock, link_changed=work.source_events.set)
    ingestion.start()
    log.info("ingestion started", extra={"sources": [source.name for source in sources]})
    work.stop.wait()
    ingestion.stop(timeout=5.0)


def fill_gaps(work: Work) -> None:
    """History → store: what the live streams missed, until `stop`."""
    threads = [
        threading.Thread(target=filler.run, args=(work.stop,), name=f"gaps-{filler.name}", daemon=True)
        for filler in fillers(work.settings, work.store, work.bus, work.clock, work.source_events)
    ]
    for thread in threads:
        thread.start()
    work.stop.wait()
    for thread in threads:
        thread.join(1.0)  # one that waits for an answer is left behind: whatever it has not committed is found missing again


def build_candles(work: Work) -> None:
    """Store → store: prices and trades become candles. The writer may be a batch behind the clock."""
    grace = timedelta(seconds=1, milliseconds=work.settings.batch_timeout_ms)
    RollUp(work.store, work.bus, work.clock, grace=grace).run(work.stop)


def publish_alerts(work: Work) -> None:
    """Store → bus: alerts that a run stored and could not publish."""
    keep_publishing(work.store, work.bus, work.clock, work.stop)


def _source_context(work: Work) -> SourceContext | None:
    """What sources are built from; a store or a bus that is away is waited for. None where `stop` came first."""
    waited = False
    while not work.stop.is_set():
        try:
            with work.store.transaction() as cursor:
                instruments = all_instruments(cursor)
            walks = walked(SourceContext(work.settings, instruments, {}, work.clock))
            make_past(work.store, walks, work.settings.synthetic_seed, work.clock(), work.stop)
            with work.store.transaction() as cursor:
                latest, times = {**latest_closes(cursor), **latest_mids(cursor)}, latest_times(cursor)
            # What the bus took just before the last end is not stored yet.
            on_bus = work.bus.latest_times(times)
        except Stopped:
            return None
        except (StoreError, BusError) as error:
            if not waited:
                log.warning("jobs wait for the %s: %s", "store" if isinstance(error, StoreError) else "bus", error)
            waited = True
            work.stop.wait(0.5)
        else:
            newest = {symbol: max(moment, on_bus.get(symbol, moment)) for symbol, moment in times.items()}
            return SourceContext(work.settings, instruments, latest, work.clock, newest)
    return None
