"""Admission: the checks that every quote, trade and candle passes before it enters bus or store.

Pure: no clock, no I/O. `open_windows` gives the window of time of each instrument, the functions
`check_…` raise NotAdmitted, `Refusals` counts the refused records of one file, page or source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from db.candles import CandleRow, Ohlc
from db.decimals import DECIMAL, is_decimal
from db.intervals import INTERVALS, candle_end, candle_start
from db.messages import Tick, Trade
from db.prices import PriceRow
from db.timestamps import day_exists, format_time, parse_time

Mode = Literal["live", "recorded"]
Kind = Literal[
    "unknown_instrument", "not_a_decimal", "time_too_old", "time_in_future", "bad_price", "bad_trade", "bad_candle", "not_ended"
]  # fmt: skip

MAX_AHEAD_SECONDS = 300  # default of the time by which a live record may be ahead of the clock
UNREADABLE = "unreadable"  # kind, in counts, of items that no parser can read
# calendar -> its market's earliest date
MARKETS: Mapping[str, str] = {
    "fx": "1971-01-01T00:00:00.000000Z",
    "equity": "1971-01-01T00:00:00.000000Z",
    "crypto": "2009-01-03T00:00:00.000000Z",
}
# source -> its earliest date, if that is later than its market's
SOURCES: Mapping[str, str] = {"binance": "2017-07-14T00:00:00.000000Z"}
SIDES = ("buy", "sell")
_IDS = 2**63  # ids and numbers of trades are below
_CONTRACT_FORM = r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}Z"
_is_contract_form = re.compile(_CONTRACT_FORM, re.ASCII).fullmatch
# Price, quantity and time in one match, which is quicker than three.
_POSITIVE = rf"(?=[0.]*[1-9]){DECIMAL}"
_is_good_trade = re.compile(rf"{_POSITIVE}\t{_POSITIVE}\t{_CONTRACT_FORM}", re.ASCII).fullmatch


class NotAdmitted(ValueError):
    """A record that neither bus nor store may take."""

    def __init__(self, reason: str, kind: Kind) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind: Kind = kind


@dataclass(frozen=True, slots=True)
class Window:
    """The times that are admitted, both ends included, in contract form.

    Texts of contract form compare as times do.

    `market` is the instrument's calendar; it decides on which grid candles lie.
    """

    earliest: str
    latest: str
    market: str = ""

    def contains(self, time: str) -> bool:
        """Return True if a time in contract form is admitted."""
        return self.earliest <= time <= self.latest


class Windows(dict[str, Window]):
    """instrument -> its window; raises NotAdmitted if the instrument is unknown."""

    def __missing__(self, symbol: str) -> Window:
        raise NotAdmitted(f"unknown instrument {symbol!r}", "unknown_instrument")


def market_window(mode: Mode, market: str, now: datetime, *, source: str = "", max_ahead_seconds: int = MAX_AHEAD_SECONDS) -> Window:
    """Return the window of one market at the clock's reading `now` (aware).

    `source` is the venue that the record comes from; `max_ahead_seconds` applies to live records.
    """
    latest = now + timedelta(seconds=max_ahead_seconds) if mode == "live" else now
    return Window(max(MARKETS[market], SOURCES.get(source, "")), format_time(latest), market)


def open_windows(
    mode: Mode, calendars: Mapping[str, str], now: datetime, *, source: str = "", max_ahead_seconds: int = MAX_AHEAD_SECONDS
) -> Windows:
    """Return the window of every instrument; `calendars` maps the existing ones to their calendars.

    Make it once a batch or page, since it depends on `now`.
    """
    by_market = {
        market: market_window(mode, market, now, source=source, max_ahead_seconds=max_ahead_seconds) for market in set(calendars.values())
    }
    return Windows({symbol: by_market[calendar] for symbol, calendar in calendars.items()})


def check_quote(quote: Tick | PriceRow, window: Window) -> None:
    """Raise NotAdmitted if a quote must not be taken."""
    bid, ask, mid, volume = quote.bid, quote.ask, quote.mid, quote.volume
    try:
        plain = is_decimal(bid) and is_decimal(ask) and is_decimal(mid) and (volume is None or is_decimal(volume))
    except TypeError:
        plain = None
    if not plain:
        _refuse_decimals((bid, ask, mid) if volume is None else (bid, ask, mid, volume))
    check_time(quote.time, window)
    if not 0 < Decimal(bid) <= Decimal(ask):
        problem = f"bid {bid} is above ask {ask}" if Decimal(bid) else f"bid {bid} is not above 0"
        raise NotAdmitted(problem, "bad_price")
    if not _is_positive(mid):
        raise NotAdmitted(f"mid {mid} is not above 0", "bad_price")


def check_price(price: str) -> None:
    """Raise NotAdmitted if an offer of an order book must not be taken."""
    _refuse_decimals((price,))
    if not _is_positive(price):
        raise NotAdmitted(f"price {price} is not above 0", "bad_price")


def check_trade(trade: Trade, window: Window) -> None:
    """Raise NotAdmitted if a trade must not be taken."""
    _, trade_id, time, price, quantity, side, buyer, seller = trade
    try:
        plain = _is_good_trade("\t".join((price, quantity, time)))
    except TypeError:
        plain = None
    if (
        plain
        and type(trade_id) is int
        and 0 <= trade_id < _IDS
        and side in SIDES
        and window.earliest <= time <= window.latest
        and day_exists(time[:10])
        and (buyer is None is seller or (_is_order_id(buyer) and _is_order_id(seller)))
    ):
        return
    _refuse_trade(trade, window)


def check_candle(candle: CandleRow, window: Window, now: str) -> None:
    """Raise NotAdmitted if a candle of a file or a feed must not be taken.

    `now` is the clock's reading in contract form. `window.market` chooses the grid.
    """
    sides = {"mid": candle.mid, "bid": candle.bid, "ask": candle.ask}
    there = {name: prices for name, prices in sides.items() if prices is not None}
    _refuse_decimals([price for prices in there.values() for price in prices] + [candle.volume])
    check_time(candle.start_time, window)
    _check_grid(candle, window.market)
    for name, prices in there.items():
        _check_prices(name, prices)
    if candle.trades is not None and not (type(candle.trades) is int and 0 <= candle.trades < _IDS):
        raise NotAdmitted(f"{candle.trades!r} is not a number of quotes or trades", "bad_candle")
    if candle.end_time > now:
        raise NotAdmitted(f"the candle ends at {candle.end_time}, which is yet to come", "not_ended")


def check_time(time: str, window: Window) -> None:
    """Raise NotAdmitted for a time outside the window, ValueError unless it is in contract form."""
    if not isinstance(time, str) or not _is_contract_form(time) or not day_exists(time[:10]):
        raise ValueError(f"{time!r:.40} is not a time in contract form")
    if time < window.earliest:
        raise NotAdmitted(f"time {time} is before {window.earliest}", "time_too_old")
    if time > window.latest:
        raise NotAdmitted(f"time {time} is after {window.latest}", "time_in_future")


def refusal_kind(error: ValueError) -> str:
    """The kind of the refusal; `UNREADABLE` for the error of a parser."""
    return error.kind if isinstance(error, NotAdmitted) else UNREADABLE


class Refusals:
    """Counts of refused items by kind, and place and reason of the first. One thread adds."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: tuple[str, str] | None = None

    def add(self, place: str, error: ValueError) -> None:
        """Count an item that a check refused or a parser could not read."""
        self._counts[refusal_kind(error)] += 1
        if self._first is None:
            self._first = (place, str(error))

    @property
    def counts(self) -> dict[str, int]:
        """kind -> number, the most frequent kind first."""
        return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def first(self) -> tuple[str, str] | None:
        """Place and reason of the first; None if there is none."""
        return self._first

    def __len__(self) -> int:
        return self._counts.total()

    def __str__(self) -> str:
        """`N bad: K of kind X, …; first: PLACE: REASON`, or `0 bad`."""
        if self._first is None:
            return "0 bad"
        kinds = ", ".join(f"{number} of kind {kind}" for kind, number in self.counts.items())
        return f"{len(self)} bad: {kinds}; first: {': '.join(self._first)}"


def _refuse_trade(trade: Trade, window: Window) -> None:
    """Raise for the first check that a trade fails."""
    _refuse_decimals((trade.price, trade.quantity))
    check_time(trade.time, window)
    if not (_is_positive(trade.price) and _is_positive(trade.quantity)):
        raise NotAdmitted(f"price {trade.price} or quantity {trade.quantity} is not above 0", "bad_trade")
    if type(trade.trade_id) is not int or not 0 <= trade.trade_id < _IDS:
        raise NotAdmitted(f"{trade.trade_id!r} is not an id from 0 to 2^63 - 1", "bad_trade")
    if trade.side not in SIDES:
        raise NotAdmitted(f"side {trade.side!r} is neither buy nor sell", "bad_trade")
    raise NotAdmitted(f"{trade.buyer_order_id!r} or {trade.seller_order_id!r} is not an id from 0 to 2^63 - 1", "bad_trade")


def _is_order_id(number: object) -> bool:
    return number is None or (type(number) is int and 0 <= number < _IDS)


def _refuse_decimals(texts: Iterable[str]) -> None:
    for text in texts:
        if not isinstance(text, str) or not is_decimal(text):
            raise NotAdmitted(f"{text!r} is not a decimal of at most 24 digits before and after the point", "not_a_decimal")


def _is_positive(decimal: str) -> bool:
    return decimal.strip("0.") != ""


def _check_grid(candle: CandleRow, market: str) -> None:
    if candle.interval not in INTERVALS:
        raise NotAdmitted(f"no interval is named {candle.interval!r}", "bad_candle")
    start = parse_time(candle.start_time)
    if candle_start(market, candle.interval, start) != start:
        raise NotAdmitted(f"no {candle.interval} candle of {candle.symbol} begins at {candle.start_time}", "bad_candle")
    if format_time(candle_end(market, candle.interval, start)) != candle.end_time:
        raise NotAdmitted(f"no {candle.interval} candle of {candle.symbol} ends at {candle.end_time}", "bad_candle")


def _check_prices(name: str, prices: Ohlc) -> None:
    opened, high, low, close = map(Decimal, prices)
    if min(opened, high, low, close) <= 0:
        raise NotAdmitted(f"a {name} price of {', '.join(prices)} is not above 0", "bad_candle")
    if high < max(opened, close, low) or low > min(opened, close):
        raise NotAdmitted(f"{name}: high {prices[1]} or low {prices[2]} is inside open {prices[0]} and close {prices[3]}", "bad_candle")
