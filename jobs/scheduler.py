"""The jobs process: what runs, and when, in one table. `python -m jobs.scheduler`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

from config import logs, settings
from config.settings import Settings, SettingsError
from db.bus import Bus, BusError
from db.candles import latest_closes
from db.instruments import all_instruments
from db.postgres import Store, StoreError
from db.prices import latest_mids, latest_times
from jobs.gaps import Wakes, fillers
from jobs.history.synthetic import make_past
from jobs.ingest import Ingestion
from jobs.rest import Stopped
from jobs.retention_job import drop_old_months, make_coming_months, retention_days
from jobs.rollup_job import RollUp
from jobs.sources import Surroundings, build, walked
from jobs.writer import BatchRule, Prices, Trades, Writer

log = logging.getLogger("jobs.scheduler")


@dataclass(frozen=True, slots=True)
class Work:
    """What jobs work with. `stop` ends ingestion; `stop_writing` ends the writer, once nothing more is ingested."""

    settings: Settings
    bus: Bus
    store: Store
    clock: Callable[[], datetime]
    stop: threading.Event = field(default_factory=threading.Event)
    stop_writing: threading.Event = field(default_factory=threading.Event)
    wakes: Wakes = field(default_factory=Wakes)  # rung when a source becomes live


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table. Without a trigger it starts at once and runs as long as the process."""

    id: str
    trigger: BaseTrigger | None
    run: Callable[[Work], None]
    grace_seconds: int | None = None  # how late a run may start; None: however late


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
    if (around := _surroundings(work)) is None:
        return
    sources = [build(spec, around) for spec in work.settings.sources]
    try:
        work.bus.forget_sources()
    except BusError as error:
        log.warning("cannot clear the sources' last reports: %s", error)
    attempts = work.settings.max_reconnect_attempts
    ingestion = Ingestion(sources, work.bus, max_attempts=attempts, clock=work.clock, went_live=work.wakes.wake)
    ingestion.start()
    log.info("ingestion started", extra={"sources": [source.name for source in sources]})
    work.stop.wait()
    ingestion.stop(timeout=5.0)


def fill_gaps(work: Work) -> None:
    """History → store: what the live streams missed, until `stop`."""
    threads = [
        threading.Thread(target=filler.run, args=(work.stop,), name=f"gaps-{filler.name}", daemon=True)
        for filler in fillers(work.settings, work.store, work.bus, work.clock, work.wakes)
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


def keep_months(work: Work) -> None:
    """Make the store's coming months, drop those that are too old."""
    today = work.clock().date()
    make_coming_months(work.store, today)
    drop_old_months(work.store, today, retention_days(work.settings))


JOBS = (
    Job("write_prices", None, write_prices),
    Job("write_trades", None, write_trades),
    Job("roll_up", None, build_candles),
    Job("ingest", None, ingest),
    Job("fill_gaps", None, fill_gaps),
    Job("retention", CronTrigger(hour=0, minute=5, timezone=UTC), keep_months, grace_seconds=3600),
)


def run(work: Work) -> None:
    """Run every job of the table until `work.stop` is set; then ingestion ends first and the writer last."""
    scheduler = BackgroundScheduler(timezone=UTC, executors={"default": {"type": "threadpool", "max_workers": len(JOBS) + 2}})
    ended = {job.id: threading.Event() for job in JOBS if job.trigger is None}
    for job in JOBS:
        scheduler.add_job(
            _guarded(job, work, ended.get(job.id)),
            trigger=job.trigger,
            id=job.id,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=job.grace_seconds,
        )
    scheduler.start()
    work.stop.wait()
    log.info("jobs stop")
    ended["ingest"].wait(6.0)
    work.stop_writing.set()
    deadline = time.monotonic() + 8.0
    for event in ended.values():
        event.wait(max(0.0, deadline - time.monotonic()))
    scheduler.shutdown(wait=False)


def _guarded(job: Job, work: Work, ended: threading.Event | None) -> Callable[[], None]:
    """The job's function with its failure logged and, for a lasting job, its end made known; one that fails begins again."""

    def once() -> None:
        try:
            job.run(work)
        except Exception:
            log.exception("job failed", extra={"job": job.id})
            if ended is not None and not work.stop.wait(1.0):
                once()
        finally:
            if ended is not None:
                ended.set()

    return once


def _surroundings(work: Work) -> Surroundings | None:
    """What sources are built from; a store or a bus that is away is waited for. None where `stop` came first."""
    waited = False
    while not work.stop.is_set():
        try:
            with work.store.transaction() as cursor:
                instruments = all_instruments(cursor)
            walks = walked(Surroundings(work.settings, instruments, {}, work.clock))
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
            return Surroundings(work.settings, instruments, latest, work.clock, newest)
    return None


def main() -> None:
    """Entry point of the process: settings, signals, and the table."""
    try:
        config = settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    logs.configure("jobs", level=config.log_level, style=config.log_format, file=config.log_file)
    if config.database_url is None or config.redis_url is None:
        sys.exit("jobs alone need DATABASE_URL (or DB_*) and REDIS_URL (or REDIS_*); `manage.py up` brings its own servers")
    bus = Bus(config.redis_url, _now, limit=config.stream_max_length)
    store = Store(config.database_url, pool_max=config.db_pool_max, timeout_ms=config.db_timeout_ms, application="tickwire-jobs")
    work = Work(config, bus, store, _now)

    def stop(signal_number: int, frame: FrameType | None) -> None:
        work.stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    run(work)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
