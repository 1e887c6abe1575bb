"""Wait until all candles up to the top of the hour are complete."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from config.pacing import STOP_POLL_SECONDS, Stopped
from db import topics
from db.bus import BusError
from db.candles import insert_candles, latest_ends, marked_between
from db.instruments import all_instruments
from db.timestamps import parse_time
from jobs.feeds.base import SourceError
from jobs.figures.hours import HOUR
from jobs.gaps.candles import AFTER_THE_HOUR, complete_so_far
from jobs.runtime.context import JobContext
from jobs.venues import VenueParts, configured

log = logging.getLogger(__name__)

CANDLE_WAIT_SECONDS = 30.0  # for prices and trades on their way into the candles
_QUEUES = (topics.PRICES, topics.TRADES)
_HOURS_AGAIN = 3 * HOUR  # fetched again, because the last candles may have been forming
OANDA_FIRST_SPAN = timedelta(days=30)  # fetched if no candle is stored; the daily job needs 30 days
MARK_WAIT_SPAN = 25 * HOUR  # older marks are history that is being loaded


def complete_hours(context: JobContext, as_of: datetime) -> SourceError | None:
    """Wait until our own candles are complete, then fetch the last candles of each configured
    broker.

    Returns the transient failure that prevented it: figures can be computed without these candles,
    but the run is not done. A fatal failure is logged, and our own candles are used. Raises
    `Stopped` or `StoreError`.
    """
    brokers = [row for row in configured(context.settings) if row.venue.history == "candles"]
    ours = timedelta(seconds=2, milliseconds=context.settings.batch_timeout_ms)  # the roll-up has completed its candles by then
    _wait_until(context, as_of + (max(ours, AFTER_THE_HOUR) if brokers else ours))
    _await_own(context, as_of)
    failures = [failure for row in brokers if (failure := _fetch(row, context, as_of)) is not None]
    return failures[0] if failures else None


def _await_own(context: JobContext, as_of: datetime) -> None:
    """Wait, for a limited time, until everything published by now is stored and in its candles."""
    by_then = [published for published, _ in _counts(context)]
    waited = 0.0
    while any(stored < due for (_, stored), due in zip(_counts(context), by_then, strict=False)) or _marked(context, as_of):
        if waited >= CANDLE_WAIT_SECONDS:
            log.warning("candles are incomplete after the longest wait", extra={"as_of": as_of.isoformat()})
            return
        _pause(context)
        waited += STOP_POLL_SECONDS


def _wait_until(context: JobContext, moment: datetime) -> None:
    waited = 0.0
    while context.clock() < moment and waited < CANDLE_WAIT_SECONDS:
        _pause(context)
        waited += STOP_POLL_SECONDS


def _counts(context: JobContext) -> list[tuple[int, int]]:
    """Published and stored entries of each queue; empty while the bus is unavailable."""
    try:
        return [context.bus.counts(channel) for channel in _QUEUES]
    except BusError as error:
        log.warning("skips the wait for the bus: %s", error)
        return []


def _pause(context: JobContext) -> None:
    """Wait a moment. Raises `Stopped`: a stopped run must not continue with an incomplete hour."""
    if context.stop.wait(STOP_POLL_SECONDS):
        raise Stopped


def _marked(context: JobContext, as_of: datetime) -> bool:
    with context.store.transaction() as cursor:
        return marked_between(cursor, as_of - MARK_WAIT_SPAN, as_of)


def _fetch(row: VenueParts[Any], context: JobContext, as_of: datetime) -> SourceError | None:
    """Store the broker's hourly candles that ended by `as_of`; return a transient failure."""
    assert row.history is not None  # noqa: S101 - the venue has candles
    name = row.venue.name
    with context.store.transaction() as cursor:
        symbols = row.instruments(context.settings, all_instruments(cursor))
        ends = {symbol: parse_time(end) for symbol, end in latest_ends(cursor, name, "1h").items()}
    with closing(row.history(context.settings, context.clock)) as history:
        for symbol in symbols:
            start = max(as_of - OANDA_FIRST_SPAN, min(ends.get(symbol, as_of - OANDA_FIRST_SPAN), as_of - _HOURS_AGAIN))
            try:
                for page in complete_so_far(history.candles(symbol, "1h", start, as_of, context.stop)):
                    with context.store.transaction() as cursor:
                        insert_candles(cursor, page.candles)
            except SourceError as error:
                if not error.fatal:
                    return error  # the other instruments would fail too
                log.warning("no candles from %s: %s", row.venue.title, error, extra={"source": name, "symbol": symbol})
    return None
