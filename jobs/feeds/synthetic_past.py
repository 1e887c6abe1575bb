"""A past for instruments without data: hourly candles of the market that the synthetic source
continues.

So volatility, correlation and charts have data from the first minute. The column `source` of these
candles is `synthetic`; a real candle of the same hour replaces each. The roll-up makes the longer
candles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from config.pacing import Stopped
from db.candles import CandleRow, Ohlc, insert_candles, nothing_stored
from db.instruments import Instrument
from db.partitions import make_months
from db.postgres import Cursor, Store
from db.prices import latest_prices
from db.timestamps import format_time, parse_time
from jobs.feeds.market.levels import Listing, sides, text
from jobs.feeds.market.model import Market, Path
from jobs.feeds.synthetic import listing

log = logging.getLogger(__name__)

DAYS = 60
STEPS = 12  # of the market in an hour
_HOUR = timedelta(hours=1)
_STEP = _HOUR / STEPS
_WITH_SIDES = ("fx", "metal")  # kinds whose candles have bid and ask

Hours = Sequence[tuple[str, str]]  # start and end of each, in contract form, oldest first
Then = Callable[[Cursor, Sequence[Instrument]], object]


def hours_before(now: datetime, days: int = DAYS) -> list[tuple[str, str]]:
    """Start and end, in contract form, of all full hours of the last `days`, oldest first.

    The last hour ends at or before `now`.
    """
    last = now.replace(minute=0, second=0, microsecond=0)
    marks = [format_time(last - number * _HOUR) for number in range(days * 24, -1, -1)]
    return list(pairwise(marks))


def past(instruments: Sequence[Instrument], seed: int | None, hours: Hours, volatility: float = 1.0) -> Iterator[list[CandleRow]]:
    """For each instrument a candle for each of `hours`, of a market that begins at its first
    levels.

    Prices depend on the seed and on the opening hours only.
    """
    market = Market(map(listing, instruments), seed, volatility=volatility)
    return (_rows(path, hours) for path in market.advance(_moments(hours), _STEP.total_seconds()))


def past_of_added(
    added: Sequence[Instrument],
    instruments: Sequence[Instrument],
    latest: Mapping[str, str],
    seed: int | None,
    hours: Hours,
    volatility: float = 1.0,
) -> Iterator[list[CandleRow]]:
    """As `past`, for instruments that are added to others with the `latest` prices.

    Each path ends at the start level of its instrument, that of an FX pair at the level that
    follows from the other pairs.
    """
    missing = {instrument.symbol for instrument in added}
    others = {symbol: price for symbol, price in latest.items() if symbol not in missing}
    present = Market(map(listing, [*instruments, *added]), seed, latest=others, volatility=volatility)
    ends = {symbol: present.level(symbol) for symbol in missing}
    market = Market(map(listing, added), seed, volatility=volatility)
    return (_rows(path, hours) for path in market.advance(_moments(hours), _STEP.total_seconds(), ends))


def make_past(
    store: Store,
    instruments: Sequence[Instrument],
    seed: int | None,
    now: datetime,
    stop: threading.Event,
    *,
    volatility: float = 1.0,
    then: Then | None = None,
) -> int:
    """Store a past of these instruments, unless one of them has a price or a candle already.

    `then` is called in the same transaction, after the last candle. Returns the number of stored
    candles: all or none. Raises `StoreError`, or `Stopped` if `stop` was set meanwhile.
    """
    symbols = [instrument.symbol for instrument in instruments]

    def missing(cursor: Cursor) -> Sequence[Instrument]:
        return instruments if instruments and nothing_stored(cursor, symbols) else ()

    return _make(store, missing, lambda cursor, chosen, hours: past(chosen, seed, hours, volatility), now, stop, then)


def make_past_of_added(
    store: Store,
    added: Sequence[Instrument],
    instruments: Sequence[Instrument],
    seed: int | None,
    now: datetime,
    stop: threading.Event,
    *,
    volatility: float = 1.0,
    then: Then | None = None,
) -> int:
    """Store a past of each instrument of `added` without a price or a candle.

    `instruments` are those that the synthetic source feeds. The rest is as in `make_past`.
    """

    def missing(cursor: Cursor) -> Sequence[Instrument]:
        return [instrument for instrument in added if nothing_stored(cursor, [instrument.symbol])]

    def candles(cursor: Cursor, chosen: Sequence[Instrument], hours: Hours) -> Iterator[list[CandleRow]]:
        return past_of_added(chosen, instruments, latest_prices(cursor), seed, hours, volatility)

    return _make(store, missing, candles, now, stop, then)


def _make(
    store: Store,
    missing: Callable[[Cursor], Sequence[Instrument]],
    candles: Callable[[Cursor, Sequence[Instrument], Hours], Iterator[list[CandleRow]]],
    now: datetime,
    stop: threading.Event,
    then: Then | None,
) -> int:
    began, hours = time.monotonic(), hours_before(now)
    with store.transaction() as cursor:
        if not missing(cursor):
            return 0
        # In a transaction of its own: making a month blocks readers until the commit.
        make_months(cursor, "candles", {start[:7] for start, _ in hours})
    number = 0
    with store.transaction() as cursor:
        if not (chosen := missing(cursor)):
            return 0
        for rows in candles(cursor, chosen, hours):
            number += insert_candles(cursor, rows).new
            if stop.is_set():
                raise Stopped
        if then is not None:
            then(cursor, chosen)
    seconds = round(time.monotonic() - began, 2)
    log.info("made a past", extra={"instruments": len(chosen), "candles": number, "days": DAYS, "seconds": seconds})
    return number


def _moments(hours: Hours) -> list[datetime]:
    """The starts of the steps."""
    return [start + number * _STEP for start in (parse_time(each) for each, _ in hours) for number in range(STEPS)]


def _rows(path: Path, hours: Hours) -> list[CandleRow]:
    instrument, rows = path.listing, []
    for first, (start, end) in zip(range(0, len(path.mids), STEPS), hours, strict=True):
        prices, volumes = path.mids[first : first + STEPS], path.volumes[first : first + STEPS]
        mids = (prices[0], max(prices), min(prices), prices[-1])
        bid, ask = _sides(instrument, mids) if instrument.kind in _WITH_SIDES else (None, None)
        mid = _text(instrument, mids)
        rows.append(
            CandleRow(instrument.symbol, "1h", start, end, mid, bid, ask, str(sum(volumes)), STEPS, complete=True, source="synthetic")
        )
    return rows


def _sides(instrument: Listing, mids: tuple[int, int, int, int]) -> tuple[Ohlc, Ohlc]:
    first, high, low, last = (sides(instrument, price) for price in mids)
    below, above = (first[0], high[0], low[0], last[0]), (first[1], high[1], low[1], last[1])
    return _text(instrument, below), _text(instrument, above)


def _text(instrument: Listing, prices: tuple[int, int, int, int]) -> Ohlc:
    first, high, low, last = (text(price, instrument.precision) for price in prices)
    return first, high, low, last
