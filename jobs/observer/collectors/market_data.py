"""Market data: prices of the bus at each tick, figures of exchange trades from the store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson

from config.pacing import Outage, StopSignal, Throttle
from db import topics
from db.bus import BusError
from db.calendars import market_open
from db.instruments import all_instruments, calendars_of, tracked_symbols
from db.metrics.market import MarketRow, insert_market
from db.postgres import Cursor, StoreError
from db.timestamps import parse_time
from db.trade_sums import trade_sums
from jobs.observer.collectors.base import BaseCollector, ObserverContext
from jobs.observer.collectors.live_prices import Quote
from jobs.observer.figures.market import TimeWeighted, TradeSums, price_state, spread_bps
from jobs.observer.figures.models import MarketDataMetric
from jobs.observer.figures.sections import Body, Entries, market_data_section

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
READ_SECONDS = 0.5  # longest wait for a price
SYMBOLS_SECONDS = 2.0  # between two reads of the tracked symbols
TRADES_SECONDS = 1.0  # between two reads of the sums of trades
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SETTLED = timedelta(minutes=2)  # trades of spans that ended earlier are read once
ANEW_SECONDS = 600.0  # between two complete reads: late trades fill gaps

_Span = tuple[datetime, datetime]


@dataclass(slots=True)
class _Second:
    """Figures of one symbol since the last stored second."""

    high: Decimal | None = None
    low: Decimal | None = None
    spread_sum: float = 0.0
    spreads: int = 0

    def add(self, quote: Quote) -> None:
        self.high = quote.mid if self.high is None else max(self.high, quote.mid)
        self.low = quote.mid if self.low is None else min(self.low, quote.mid)
        spread = spread_bps(quote.bid, quote.ask)
        if spread is not None:
            self.spread_sum, self.spreads = self.spread_sum + spread, self.spreads + 1


@dataclass(frozen=True, slots=True)
class _Shown:
    """The metric of a symbol, and the price and the sums from which it was made."""

    quote: Quote | None
    sums: TradeSums | None
    metric: MarketDataMetric


class MarketDataCollector(BaseCollector):
    """The section `market_data` of the tracked symbols.

    The loop `observer-prices` follows the bus; `observer-trades` reads the tracked symbols and the
    sums of exchange trades.
    """

    name = "market_data"

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        self._lock = threading.Lock()  # of the figures below, which a price changes
        self._seconds: dict[str, _Second] = {}  # symbol -> figures
        self._averages: dict[str, TimeWeighted] = {}  # symbol -> average of the day
        self._average_day: date | None = None
        self._tracked: Sequence[str] = ()
        self._calendars: dict[str, str] = {}
        self._sums: dict[str, TradeSums] = {}  # symbol -> the UTC day so far
        self._settled: dict[_Span, dict[str, TradeSums]] = {}  # settled hour or minute -> sums
        self._stored: dict[str, TradeSums] = {}  # symbol -> the sums at the last stored second
        self._shown: dict[str, _Shown] = {}  # symbol -> figures of the present second
        self._shown_second: datetime | None = None
        self._entries = Entries()
        self._throttle = Throttle(monotonic=time.monotonic)

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """The reader of prices, and that of the store."""
        return {"observer-prices": self._follow, "observer-trades": self._read_store}

    def start(self) -> None:
        """Read the tracked symbols and the last prices."""
        super().start()
        self._read_symbols()
        for body in self.context.bus.latest_prices().values():
            self._take(body)

    def collect(self, now: datetime) -> Body:
        """The section at `now`.

        A new price changes it at once, the passage of time (average, state) once per second.
        """
        if (second := now.replace(microsecond=0)) != self._shown_second:
            self._shown, self._shown_second = {}, second
        return market_data_section(now, [self._shown_metric(symbol, now) for symbol in self._tracked], self._entries)

    def _shown_metric(self, symbol: str, now: datetime) -> MarketDataMetric:
        quote, sums, known = self.context.prices.get(symbol), self._sums.get(symbol), self._shown.get(symbol)
        if known is None or known.quote is not quote or known.sums is not sums:
            known = self._shown[symbol] = _Shown(quote, sums, self._metric(symbol, quote, sums, now))
        return known.metric

    def _metric(self, symbol: str, quote: Quote | None, sums: TradeSums | None, now: datetime) -> MarketDataMetric:
        average = None if sums else self._averages.get(symbol)
        closed = not market_open(self._calendars.get(symbol, "crypto"), now)
        return MarketDataMetric(
            symbol,
            last_price=quote.mid if quote else None,
            bid=quote.bid if quote else None,
            ask=quote.ask if quote else None,
            vwap=sums.vwap if sums else None,
            volume=sums.volume if sums else None,
            trades=sums.trades if sums else 0,
            spread_bps=spread_bps(quote.bid, quote.ask) if quote else None,
            twap=average.twap(now) if average else None,
            time=quote.time if quote else None,
            state=price_state(quote.time if quote else None, now, market_is_closed=closed),
        )

    def store_second(self, cursor: Cursor, second: datetime) -> None:
        """Insert a row for each tracked symbol with a price; one per minute if the price stands."""
        with self._lock:
            figures, self._seconds = self._seconds, {}
        rows = []
        for symbol in self._tracked:
            quote = self.context.prices.get(symbol)
            if quote is None or (symbol not in figures and second.second and not quote.is_live(second)):
                continue
            own, sums, stored = figures.get(symbol) or _Second(), self._sums.get(symbol), self._stored.get(symbol, TradeSums())
            grown = sums is not None and sums.trades >= stored.trades and sums.volume >= stored.volume
            base = stored if grown else TradeSums()  # another day has begun
            rows.append(
                MarketRow(
                    second, symbol, quote.mid, quote.bid, quote.ask, own.high or quote.mid, own.low or quote.mid,
                    sums.vwap if sums else None, sums.volume - base.volume if sums else None,
                    sums.trades - base.trades if sums else None, own.spread_sum if own.spreads else None, own.spreads,
                )
            )  # fmt: skip
            if sums:
                self._stored[symbol] = sums
        insert_market(cursor, rows)

    def _follow(self, stop: StopSignal) -> None:
        """Take each price of the bus until `stop` is set."""
        bus = self.context.bus
        outage = Outage(log, "prices cannot be followed", monotonic=time.monotonic)
        while not stop.is_set():
            try:
                with closing(bus.subscribe([topics.PRICES])) as subscription:
                    for body in bus.latest_prices().values():
                        self._take(body)
                    outage.recovered()
                    while not stop.is_set():
                        for _, body in subscription.read(READ_SECONDS):
                            self._take(body)
            except BusError as error:
                outage.failed(error)
                stop.wait(RETRY_SECONDS)

    def _take(self, body: bytes) -> None:
        try:
            message = orjson.loads(body)
            symbol, price = str(message["instrument"]), message["price"]
            quote = Quote(Decimal(price["bid"]), Decimal(price["ask"]), Decimal(price["mid"]), parse_time(price["time"]))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            if self._throttle.due("price") is not None:
                log.warning("a malformed price is skipped (repeats suppressed for 60 s)", extra={"reason": str(error)})
            return
        self.context.prices.put(symbol, quote)
        with self._lock:
            self._seconds.setdefault(symbol, _Second()).add(quote)
            self._average(symbol, quote)

    def _average(self, symbol: str, quote: Quote) -> None:
        today = quote.time.astimezone(UTC).date()
        if self._average_day is None or today > self._average_day:
            self._averages, self._average_day = {}, today
        known = self._averages.get(symbol)
        self._averages[symbol] = known.after(quote.time, quote.mid) if known else TimeWeighted.begin(quote.time, quote.mid)

    def _read_store(self, stop: StopSignal) -> None:
        """Read the tracked symbols and the sums of trades until `stop` is set."""
        outage = Outage(log, "market data waits for the store", monotonic=time.monotonic)
        symbols_due = anew_due = 0.0
        while not stop.wait(TRADES_SECONDS):
            now = time.monotonic()
            try:
                if now >= symbols_due:
                    self._read_symbols()
                    symbols_due = now + SYMBOLS_SECONDS
                if now >= anew_due:
                    self._settled = {}
                    anew_due = now + ANEW_SECONDS
                self._read_trades(self.context.clock())
                outage.recovered()
            except StoreError as error:
                outage.failed(error)

    def _read_symbols(self) -> None:
        with self.context.store.transaction() as cursor:
            self._calendars = calendars_of(all_instruments(cursor))
            self._tracked = tracked_symbols(cursor)

    def _read_trades(self, now: datetime) -> None:
        """Sum the trades of the UTC day: those of settled hours and minutes are read once."""
        start = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        totals: dict[str, TradeSums] = {}
        used: dict[_Span, dict[str, TradeSums]] = {}
        while start <= now:
            end = start + HOUR if start.minute == 0 and start + HOUR + SETTLED <= now else start + MINUTE
            sums = self._settled.get((start, end))
            if sums is None:
                with self.context.store.transaction() as cursor:
                    found = trade_sums(cursor, self._tracked, start, end)
                sums = {symbol: TradeSums(*each) for symbol, each in found.items()}
            if end + SETTLED <= now:
                used[start, end] = sums
            for symbol, each in sums.items():
                totals[symbol] = totals.get(symbol, TradeSums()).plus(each)
            start = end
        self._settled, self._sums = used, totals
