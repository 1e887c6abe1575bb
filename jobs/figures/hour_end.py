"""See that the hours up to a full hour are whole before anything is computed of them."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import datetime, timedelta

from config.pacing import STOP_POLL_SECONDS, Stopped
from db import topics
from db.bus import BusError
from db.candles import insert_candles, latest_ends, marked_between
from db.instruments import all_instruments
from db.timestamps import parse_time
from jobs.feeds.base import SourceError
from jobs.feeds.oanda.history import oanda_history
from jobs.figures.hours import HOUR
from jobs.gaps.candles import AFTER_THE_HOUR
from jobs.runtime.context import JobContext

log = logging.getLogger(__name__)

CANDLE_WAIT_SECONDS = 30.0  # seconds to wait for what is on its way into the hours' candles
_QUEUES = (topics.PRICES, topics.TRADES)
_HOURS_AGAIN = 3 * HOUR  # of OANDA's, asked for anew: its last ones may have been forming
OANDA_FIRST_SPAN = timedelta(days=30)  # of OANDA's where there are none: what the daily job looks at
MARK_WAIT_SPAN = 25 * HOUR  # of marks that are waited for; what is older is history being loaded


def complete_hours(context: JobContext, as_of: datetime) -> SourceError | None:
    """Wait for what is on its way into our own candles, then fetch OANDA's last ones where it is a source.

    Gives back the failure that kept OANDA's away and may pass: what can be computed without them should not wait for it, but the run is
    not done. What OANDA refuses for good is logged: our own candles stand in. Raises `Stopped` or `StoreError`.
    """
    from_oanda = any(spec.kind == "oanda" for spec in context.settings.sources)
    ours = timedelta(seconds=2, milliseconds=context.settings.batch_timeout_ms)  # by then the roll-up calls its candles complete
    _wait_until(context, as_of + (max(ours, AFTER_THE_HOUR) if from_oanda else ours))
    _await_own(context, as_of)
    return _fetch_oanda(context, as_of) if from_oanda else None


def _await_own(context: JobContext, as_of: datetime) -> None:
    """Wait until what is published by now is stored, and in its candles, but not for ever."""
    by_then = [published for published, _ in _counts(context)]
    waited = 0.0
    while any(stored < due for (_, stored), due in zip(_counts(context), by_then, strict=False)) or _marked(context, as_of):
        if waited >= CANDLE_WAIT_SECONDS:
            log.warning("candles are not whole in time", extra={"as_of": as_of.isoformat()})
            return
        _pause(context)
        waited += STOP_POLL_SECONDS


def _wait_until(context: JobContext, moment: datetime) -> None:
    waited = 0.0
    while context.clock() < moment and waited < CANDLE_WAIT_SECONDS:
        _pause(context)
        waited += STOP_POLL_SECONDS


def _counts(context: JobContext) -> list[tuple[int, int]]:
    """Published and stored, of each queue; nothing where the bus is away, for then nothing comes of it that could be waited for."""
    try:
        return [context.bus.counts(channel) for channel in _QUEUES]
    except BusError as error:
        log.warning("does not wait for the bus: %s", error)
        return []


def _pause(context: JobContext) -> None:
    """A run that is told to stop must not go on with half an hour: whoever is next does it."""
    if context.stop.wait(STOP_POLL_SECONDS):
        raise Stopped


def _marked(context: JobContext, as_of: datetime) -> bool:
    with context.store.transaction() as cursor:
        return marked_between(cursor, as_of - MARK_WAIT_SPAN, as_of)


def _fetch_oanda(context: JobContext, as_of: datetime) -> SourceError | None:
    with context.store.transaction() as cursor:
        fed = [each.symbol for each in all_instruments(cursor) if each.source == "oanda"]
        ends = {symbol: parse_time(end) for symbol, end in latest_ends(cursor, "oanda", "1h").items()}
    with closing(oanda_history(context.settings)) as history:
        for symbol in fed:
            start = max(as_of - OANDA_FIRST_SPAN, min(ends.get(symbol, as_of - OANDA_FIRST_SPAN), as_of - _HOURS_AGAIN))
            try:
                for page in history.candles(symbol, "1h", start, as_of, context.stop):
                    with context.store.transaction() as cursor:
                        insert_candles(cursor, page)
            except SourceError as error:
                if not error.fatal:
                    return error  # it would fail for the others too
                log.warning("no candles from OANDA: %s", error, extra={"symbol": symbol})
    return None
