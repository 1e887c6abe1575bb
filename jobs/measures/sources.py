"""Counts of the sources: accepted and refused records, delays, errors, publishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import get_args

from config.metrics import PUBLISH_BUCKETS, SOURCE_DELAY_BUCKETS
from db.admission import UNREADABLE, Kind
from db.measures import Buckets, Counts, Many
from db.messages import Tick, Trade

REFUSAL_KINDS = (*get_args(Kind), UNREADABLE)
TRANSIENT, FATAL = "transient", "fatal"
FULL, LOST = "full", "lost"
MAX_MEASURED_PER_BATCH = 8  # delays; in a larger batch each one stands for its share of the records

_symbol_of_trade, _quantity_of_trade = itemgetter(0), itemgetter(4)
_symbol_of_tick = attrgetter("instrument")


class SourceCounts:
    """Counts of all sources since the process started. Any thread may call it.

    Records are counted once per batch, after the bus has accepted it.
    """

    def __init__(self) -> None:
        self.ingested = Counts()  # symbol -> trades if the venue delivers trades, otherwise prices
        self.prices = Counts()  # symbol -> prices
        self.quantities = Counts()  # symbol -> sum of the traded quantities
        self.records = Counts()  # source -> as `ingested`
        self.delays = Many(SOURCE_DELAY_BUCKETS)  # source -> time of the record to its acceptance
        self.refused = Counts()  # source, kind
        self.errors = Counts()  # source, kind
        self.reconnects = Counts()  # source
        self.publish = Buckets(PUBLISH_BUCKETS)  # one batch, retries included
        self.retries = Counts((FULL,), (LOST,))

    def expect(self, source: str, *, is_live: bool) -> None:
        """Begin with 0 for each count of the source; recordings have no delays."""
        self.records.add(source, by=0)
        self.reconnects.add(source, by=0)
        for kind in (TRANSIENT, FATAL):
            self.errors.add(source, kind, by=0)
        for kind in REFUSAL_KINDS:
            self.refused.add(source, kind, by=0)
        if is_live:
            self.delays.get(source)

    def expect_symbols(self, symbols: Iterable[str], *, has_trades: bool) -> None:
        """Begin with 0 for each count of these instruments."""
        for symbol in symbols:
            self.ingested.add(symbol, by=0)
            self.prices.add(symbol, by=0)
            if has_trades:
                self.quantities.add(symbol, by=0)

    def accepted(self, source: str, quotes: Sequence[Tick], trades: Sequence[Trade], at: datetime, *, is_live: bool) -> None:
        """Count a batch that the bus has accepted at this time."""
        ticks = Counter(map(_symbol_of_tick, quotes))
        for symbol, number in ticks.items():
            self.prices.add(symbol, by=number)
        if trades:
            self._trades(trades)
        else:
            for symbol, number in ticks.items():
                self.ingested.add(symbol, by=number)
        self.records.add(source, by=len(trades) or len(quotes))
        if is_live:
            self._delays(source, [trade[2] for trade in trades] or [quote.time for quote in quotes], at)

    def _trades(self, trades: Sequence[Trade]) -> None:
        symbols = Counter(map(_symbol_of_trade, trades))
        if len(symbols) == 1:
            quantities = {trades[0][0]: sum(map(float, map(_quantity_of_trade, trades)))}
        else:
            quantities = dict.fromkeys(symbols, 0.0)
            for trade in trades:
                quantities[trade[0]] += float(trade[4])
        for symbol, number in symbols.items():
            self.ingested.add(symbol, by=number)
            self.quantities.add(symbol, by=quantities[symbol])

    def _delays(self, source: str, times: Sequence[str], at: datetime) -> None:
        """Measure the records of a small batch, or some of a larger one, evenly spread."""
        buckets, number = self.delays.get(source), len(times)
        measured = min(number, MAX_MEASURED_PER_BATCH)
        for place in range(measured):
            first, following = place * number // measured, (place + 1) * number // measured
            buckets.observe((at - datetime.fromisoformat(times[first])).total_seconds(), following - first)
