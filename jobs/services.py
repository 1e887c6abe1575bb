"""Services of the jobs process: writers, roll-up, gap filling, publishing of alerts.

Each runs until `context.stop` is set.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobs.duties.writers import Served
from jobs.figures.alerts import keep_publishing
from jobs.runtime.context import JobContext
from jobs.store.book_queue import BookQueue
from jobs.store.queues import PriceQueue, StoreQueue, TradeQueue
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, Writer
from jobs.venues import gap_filler


def write_prices(context: JobContext, served: Served) -> None:
    """Move prices from the bus to the store, of the shards that `served` returns."""
    queue = PriceQueue(context.bus, max_ahead_seconds=context.settings.source_max_ahead_seconds)
    _write(context, queue, served)


def write_trades(context: JobContext, served: Served) -> None:
    """Move trades from the bus to the store, of the shards that `served` returns."""
    queue = TradeQueue(context.bus, context.clock, max_ahead_seconds=context.settings.source_max_ahead_seconds)
    _write(context, queue, served)


def write_books(context: JobContext, served: Served) -> None:
    """Move tops and whole books from the bus to the store, of the shards that `served` returns."""
    queue = BookQueue(context.bus, context.clock, max_ahead_seconds=context.settings.source_max_ahead_seconds)
    _write(context, queue, served)


def _write(context: JobContext, queue: StoreQueue[Any], served: Served) -> None:
    rule = BatchRule(context.settings.batch_size, context.settings.batch_timeout_ms)
    measures = context.measures
    Writer(context.bus, context.store, rule, queue, measures.writer, served=served, backlog=measures.backlog).run(context.stop)


def fill_gaps(context: JobContext, venue: str) -> None:
    """Fill the store with the items that the live stream of a venue missed, from its history."""
    gap_filler(context, venue).run(context.stop)


def build_candles(context: JobContext) -> None:
    """Build candles from stored prices and trades. The writer may be one batch behind the clock."""
    grace = timedelta(seconds=1, milliseconds=context.settings.batch_timeout_ms)
    RollUp(context.store, context.bus, context.clock, grace=grace, backlog=context.measures.backlog).run(context.stop)


def publish_alerts(context: JobContext) -> None:
    """Publish the alerts that a run stored and could not publish."""
    keep_publishing(context.store, context.bus, context.clock, context.stop)
