"""A past for an empty store: hourly candles of the walk that the synthetic source continues.

So volatility, correlation and charts have data from the first minute. The column `source` of these
candles is `synthetic`; a real candle of the same hour replaces each. The roll-up makes the longer
candles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from config.pacing import Stopped
from db.candles import CandleRow, Ohlc, insert_candles, nothing_stored
from db.instruments import Instrument
from db.partitions import make_months
from db.postgres import Store
from db.timestamps import format_time
from jobs.feeds.synthetic import Walk, half_spread

log = logging.getLogger(__name__)

DAYS = 60
# Of the walk in an hour: enough for an open, a high, a low and a close that differ.
STEPS = 4
_HOUR = timedelta(hours=1)


def hours_before(now: datetime, days: int = DAYS) -> list[tuple[str, str]]:
    """Start and end, in contract form, of all full hours of the last `days`, oldest first.

    The last hour ends at or before `now`.
    """
    last = now.replace(minute=0, second=0, microsecond=0)
    marks = [format_time(last - number * _HOUR) for number in range(days * 24, -1, -1)]
    return list(pairwise(marks))


def past(instrument: Instrument, seed: int | None, hours: Sequence[tuple[str, str]]) -> list[CandleRow]:
    """A candle for each of `hours`, of a walk from the instrument's level.

    Prices depend on seed and symbol only.
    """
    walk = Walk(instrument, seed)
    rows = []
    for start, end in hours:
        steps = [walk.step() for _ in range(STEPS)]
        prices = [price for price, _ in steps]
        mid = (prices[0], max(prices), min(prices), prices[-1])
        bid, ask = _sides(instrument, mid) if instrument.kind == "fx" else (None, None)
        volume = str(sum(volume for _, volume in steps))
        rows.append(CandleRow(instrument.symbol, "1h", start, end, _text(mid), bid, ask, volume, STEPS, complete=True, source="synthetic"))
    return rows


def make_past(store: Store, instruments: Sequence[Instrument], seed: int | None, now: datetime, stop: threading.Event) -> int:
    """Store a past of these instruments, unless one of them has a price or a candle already.

    Returns the number of stored candles: all or none. Raises `StoreError`, or `Stopped` if `stop`
    was set meanwhile.
    """
    began, hours, symbols = time.monotonic(), hours_before(now), [instrument.symbol for instrument in instruments]
    with store.transaction() as cursor:
        if not instruments or not nothing_stored(cursor, symbols):
            return 0
        # In a transaction of its own: making a month blocks readers until the commit.
        make_months(cursor, "candles", {start[:7] for start, _ in hours})
    candles = 0
    with store.transaction() as cursor:
        if not nothing_stored(cursor, symbols):
            return 0
        for instrument in instruments:
            candles += insert_candles(cursor, past(instrument, seed, hours)).new
            if stop.is_set():
                raise Stopped
    log.info("made a past for an empty store", extra={"candles": candles, "days": DAYS, "seconds": round(time.monotonic() - began, 2)})
    return candles


def _sides(instrument: Instrument, mid: tuple[Decimal, Decimal, Decimal, Decimal]) -> tuple[Ohlc, Ohlc]:
    first, high, low, last = ((price, half_spread(instrument, price)) for price in mid)
    below = (first[0] - first[1], high[0] - high[1], low[0] - low[1], last[0] - last[1])
    above = (first[0] + first[1], high[0] + high[1], low[0] + low[1], last[0] + last[1])
    return _text(below), _text(above)


def _text(prices: tuple[Decimal, Decimal, Decimal, Decimal]) -> Ohlc:
    return f"{prices[0]:f}", f"{prices[1]:f}", f"{prices[2]:f}", f"{prices[3]:f}"
