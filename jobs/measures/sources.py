"""Counts of the sources: accepted and refused records, delays, errors, publishes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import get_args

from config.metrics import PUBLISH_BUCKETS, SOURCE_DELAY_BUCKETS
from db.admission import UNREADABLE, Kind
from db.admitted import SAMPLED_TIMES, UsualBatch
from db.measures import Buckets, Counts, Many
from db.messages import Tick, Trade

REFUSAL_KINDS = (*get_args(Kind), UNREADABLE)
TRANSIENT, FATAL = "transient", "fatal"
# Of a repeated publish: `reason` of the errors of the bus.
RETRY_REASONS = ("full", "lost", "fenced", "unreplicated", "moved")
MAX_MEASURED_PER_BATCH = SAMPLED_TIMES  # delays; in a larger batch each one stands for its share of the records


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
        self.retries = Counts(*((reason,) for reason in RETRY_REASONS))

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

    def accepted(self, source: str, quotes: Sequence[Tick], trades: Sequence[Trade] | UsualBatch, at: datetime, *, is_live: bool) -> None:
        """Count a batch that the bus has accepted at this time."""
        prices = Counter([quote.instrument for quote in quotes])
        for symbol, number in prices.items():
            self.prices.add(symbol, by=number)
        if isinstance(trades, UsualBatch):
            for symbol, number in trades.counts.items():
                self.ingested.add(symbol, by=number)
                self.quantities.add(symbol, by=float(trades.volumes[symbol]))
        elif trades:
            self._trades(trades)
        else:
            for symbol, number in prices.items():
                self.ingested.add(symbol, by=number)
        self.records.add(source, by=len(trades) or len(quotes))
        if is_live:
            self._delays(source, quotes, trades, at)

    def _trades(self, trades: Sequence[Trade]) -> None:
        """Count trades. Thousands arrive per second, so each costs one step of this loop."""
        quantities: defaultdict[str, list[str]] = defaultdict(list)  # symbol -> those of its trades
        for trade in trades:
            quantities[trade[0]].append(trade[4])
        for symbol, texts in quantities.items():
            self.ingested.add(symbol, by=len(texts))
            self.quantities.add(symbol, by=sum(map(float, texts)))

    def _delays(self, source: str, quotes: Sequence[Tick], trades: Sequence[Trade] | UsualBatch, at: datetime) -> None:
        """Measure the records of a small batch, or some of a larger one, evenly spread."""
        buckets, number = self.delays.get(source), len(trades) or len(quotes)
        measured = min(number, MAX_MEASURED_PER_BATCH)
        for place in range(measured):
            first, following = place * number // measured, (place + 1) * number // measured
            time = trades.times[place] if isinstance(trades, UsualBatch) else (trades or quotes)[first].time
            buckets.observe((at - datetime.fromisoformat(time)).total_seconds(), following - first)
