"""The metrics of a jobs process: collectors that read its counts when they are rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from config.exposition import Collected, Exposition
from db import topics
from db.bus import Bus
from db.calendars import market_open
from health.sources import WORST_LAST
from jobs.feeds.base import State
from jobs.measures.counts import JobsMeasures
from jobs.runtime.reports import STORED, Acting, JobsReport

# Channels on which this process publishes.
PUBLISHED = (
    *(topics.PRICES, topics.TRADES, topics.CANDLES, topics.DATA_READY, topics.VOLATILITY_ALERTS, topics.CORRELATION_ALERTS),
    *(topics.SOURCE_STATES, topics.OBSERVABILITY_EVENTS),
)


class JobsMetrics:
    """Collects the rows of the jobs process. Each collector fails alone."""

    def __init__(
        self,
        measures: JobsMeasures,
        acting: Acting,
        bus: Bus,
        report: JobsReport,
        tasks: Iterable[str],
        clock: Callable[[], datetime],
        *,
        limit: int,
    ) -> None:
        """`limit` is that of the unstored records of a channel."""
        self._measures = measures
        self._acting = acting
        self._bus_counts = bus.measured
        self._report = report
        self._tasks = tuple(tasks)
        self._clock = clock
        self._limit = limit
        measures.tasks.expect(self._tasks)
        for channel in PUBLISHED:
            for shard in bus.shards_of(channel):
                self._bus_counts.published.add(channel, str(shard), by=0)
        for channel in STORED:
            self._bus_counts.parked.add(channel, by=0)

    def register(self, exposition: Exposition) -> None:
        """Add all collectors."""
        for collector in (self._duties, self._records, self._sources, self._bus, self._writers, self._timed_jobs, self._gaps):
            exposition.register(collector)

    def _duties(self, found: Collected) -> None:
        held = self._acting.held
        for duty in self._acting.known:
            found.add("tickwire_duty_held", int(duty in held), duty=duty)

    def _records(self, found: Collected) -> None:
        counts = self._measures.sources
        found.add_counts("trades_ingested_total", counts.ingested)
        found.add_counts("tickwire_prices_ingested_total", counts.prices)
        found.add_counts("tickwire_trade_quantity_total", counts.quantities)
        found.add_counts("tickwire_records_refused_total", counts.refused)
        found.add_many("tickwire_source_delay_seconds", counts.delays.items())

    def _sources(self, found: Collected) -> None:
        """Add the states; a source without an accepted record has the time 0.

        Of several parts of a source, the worst state and the last acceptance count.
        """
        acting, counts, now = self._acting, self._measures.sources, self._clock()
        states: dict[str, str] = {}
        accepted: dict[str, float] = {}
        for status in tuple(acting.statuses):
            name, at = status.name, status.last_accepted
            states[name] = max(status.state, states.get(name, status.state), key=WORST_LAST.index)
            accepted[name] = max(accepted.get(name, 0.0), 0.0 if at is None else at.timestamp())
        for name, state in states.items():
            found.add("tickwire_source_up", int(state == State.LIVE), source=name)
            for each in State:
                found.add("tickwire_source_state", int(state == each), source=name, state=each.value)
            is_open = any(market_open(calendar, now) for calendar in acting.calendars.get(name, ()))
            found.add("tickwire_source_market_open", int(is_open), source=name)
            found.add("tickwire_source_last_ingestion_timestamp_seconds", accepted[name], source=name)
        if states:
            found.add("last_ingestion_timestamp", max(accepted.values()))
        found.add_counts("tickwire_source_reconnects_total", counts.reconnects)
        found.add_counts("tickwire_source_errors_total", counts.errors)

    def _bus(self, found: Collected) -> None:
        sources, bus = self._measures.sources, self._bus_counts
        found.add_counts("tickwire_bus_published_total", bus.published)
        found.add_buckets("tickwire_bus_publish_duration_seconds", sources.publish)
        found.add_counts("tickwire_bus_retries_total", sources.retries)
        found.add_counts("tickwire_bus_epochs_total", bus.epochs)
        found.add_counts("tickwire_bus_unreplicated_batches_total", bus.unreplicated)
        found.add_counts("tickwire_bus_parked_total", bus.parked)
        for channel, number in self._report.unstored.items():
            found.add("tickwire_bus_unstored", number, channel=channel)
            found.add("tickwire_bus_unstored_limit", self._limit, channel=channel)

    def _writers(self, found: Collected) -> None:
        counts = self._measures.writer
        found.add_counts("tickwire_writer_rows_total", counts.rows)
        found.add_counts("tickwire_writer_rows_refused_total", counts.refused)
        found.add_counts("tickwire_writer_failures_total", counts.failures)
        found.add_many("tickwire_writer_batch_duration_seconds", counts.durations.items())
        found.add_many("tickwire_writer_batch_rows", counts.sizes.items())

    def _timed_jobs(self, found: Collected) -> None:
        """Add the runs; a job without a success has no time of one, because 0 would be late."""
        counts = self._measures.tasks
        found.add_counts("tickwire_task_runs_total", counts.runs)
        found.add_many("tickwire_task_duration_seconds", counts.durations.items())
        for task in self._tasks:
            if (at := counts.last_success.get(task)) is not None:
                found.add("tickwire_task_last_success_timestamp_seconds", at.timestamp(), task=task)

    def _gaps(self, found: Collected) -> None:
        filled, figures = self._measures.gaps_filled, self._report.figures
        found.add_counts("tickwire_gaps_filled_total", filled)
        for source, number in {**{source: 0 for (source,) in filled.values()}, **figures.gaps_open}.items():
            found.add("tickwire_gaps_open", number, source=source)
        if figures.failed_background_jobs is not None:
            found.add("tickwire_timescaledb_failed_jobs", figures.failed_background_jobs)
