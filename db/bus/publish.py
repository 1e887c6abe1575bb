"""Publishing: numbers, keeps and broadcasts messages, one atomic step per script call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import orjson

from db import topics
from db.admission import check_quote
from db.admitted import AdmittedQuotes, AdmittedTrades, UsualBatch, admit_batch, admit_trades
from db.bus.confirmation import ScriptCall
from db.bus.connection import lua
from db.bus.errors import BusFull
from db.bus.fence import NO_FENCE, Fence
from db.bus.layout.batches import MESSAGES_PER_SCRIPT, RECEIPT_SECONDS, Batches, Message
from db.messages import Stamp, Tick, Trade, mark_lines, trade_lines
from db.quotes import digest_of, make_quote
from db.timestamps import format_time

MAX_TRADES_PER_ENTRY = 5_000
SEEN_SECONDS = 15 * 60  # in which a repeated price of `publish_once` is a duplicate
_MAX_SEEN = 10_000  # prices per instrument that are remembered for that
_APPEND = lua("append")


class Publisher(Batches):
    """The part of the bus that publishes.

    Quotes and trades are checked before they get a `seq`: if one of a batch is not admitted,
    `NotAdmitted` or another `ValueError` is raised and nothing is published. Batches of
    `db.admitted` are not checked again.

    `batch_id` is `PUBLISHER/NUMBER`. A publisher has a name of its own and sends its batches one
    after the other. With a `batch_id`, a failed batch may be sent again after any failure. Without
    it, a repeat may publish twice. Every method raises `BusError`, `BusFull` if the store is
    behind, and `BusFenced` if a process with a higher number has published for the duty of `fence`.
    """

    def publish(
        self, channel: str, topic: str, body: Mapping[str, object], batch_id: str | None = None, *, fence: Fence = NO_FENCE
    ) -> Stamp:
        """Publish one message on a channel of the channel table.

        `timestamp`, `seq` and `epoch` are appended to `body`; `seq` counts per channel and topic.
        """
        open_body = orjson.dumps({**body, "timestamp": format_time(self._clock())})[:-1]
        return self._publish(channel, [(topic, open_body, "", "", "")], batch_id, fence)[0]

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None, *, fence: Fence = NO_FENCE) -> list[Stamp]:
        """Publish a batch of prices in one round trip, in order.

        `BusFull` means that the store is behind: the repeat skips the part that was accepted.
        """
        if not isinstance(ticks, AdmittedQuotes):
            self._check_quotes(ticks)
        stamp = format_time(self._clock())
        return self._publish(topics.PRICES, [_price_message(tick, stamp) for tick in ticks], batch_id, fence)

    def publish_once(self, ticks: Sequence[Tick], timed: Sequence[bool]) -> list[Stamp | None]:
        """Publish at most `MESSAGES_PER_SCRIPT` prices in one step, in order, without duplicates.

        A price with the instrument, time, bid, ask and mid of one that this method has published in
        the last `SEEN_SECONDS` is a duplicate: it gets no `seq`, and None stands in its place.
        `timed` is False for a price whose time is that of its reception: it is never a duplicate.
        """
        if len(ticks) > MESSAGES_PER_SCRIPT:
            raise ValueError(f"one step takes at most {MESSAGES_PER_SCRIPT} prices")
        if not isinstance(ticks, AdmittedQuotes):
            self._check_quotes(ticks)
        now = self._clock()
        digests = [digest_of(tick) if has_time else "" for tick, has_time in zip(ticks, timed, strict=True)]
        seen = orjson.dumps([int(now.timestamp() * 1000), SEEN_SECONDS * 1000, _MAX_SEEN, *digests])
        messages = [_price_message(tick, format_time(now)) for tick in ticks]
        return [stamp if stamp.seq else None for stamp in self._publish(topics.PRICES, messages, seen=seen)]

    def cache_price(
        self,
        instrument: str,
        *,
        bid: str | Decimal,
        ask: str | Decimal,
        mid: str | Decimal | None = None,
        time: str | datetime | None = None,
        source: str = "job",
    ) -> Stamp:
        """Publish one price on `price_updates`; it becomes the instrument's latest.

        `mid` is halfway if it is None. `time` is an aware datetime or RFC 3339; None is now. Raises
        `NotAdmitted`, `ValueError` for a time that cannot be read, and `TypeError` for a float.
        """
        tick = make_quote(instrument, bid, ask, mid, self._clock() if time is None else time, source)
        return self.publish_prices([tick])[0]

    def publish_volatility_alert(
        self,
        instrument: str,
        volatility: float,
        *,
        threshold: float,
        severity: str,
        message: str | None = None,
        batch_id: str | None = None,
        fence: Fence = NO_FENCE,
    ) -> Stamp:
        """Publish on `volatility_alerts`.

        `severity` is `warning` or `critical`; `volatility` and `threshold` are fractions
        (0.025 = 2.5 %).
        """
        message = message or f"{instrument} volatility {volatility:.2%} is above the {severity} threshold {threshold:.2%}"
        figures = {"instrument": instrument, "volatility": volatility}
        return self._publish_alert(topics.VOLATILITY_ALERTS, instrument, figures, threshold, severity, message, batch_id, fence)

    def publish_correlation_alert(
        self,
        instrument1: str,
        instrument2: str,
        correlation: float,
        *,
        previous: float,
        threshold: float,
        severity: str,
        message: str | None = None,
        batch_id: str | None = None,
        fence: Fence = NO_FENCE,
    ) -> Stamp:
        """Publish on `correlation_alerts`.

        The correlation has moved from `previous` by more than `threshold` (absolute).
        """
        message = message or f"{instrument1}/{instrument2} correlation went from {previous:+.2f} to {correlation:+.2f}"
        figures = {
            "instrument1": instrument1,
            "instrument2": instrument2,
            "correlation": correlation,
            "previous_correlation": previous,
            "change": correlation - previous,
        }
        topic = f"{instrument1}|{instrument2}"
        return self._publish_alert(topics.CORRELATION_ALERTS, topic, figures, threshold, severity, message, batch_id, fence)

    def publish_data_ready(self, data_type: str, instruments: Sequence[str], as_of: datetime, *, fence: Fence = NO_FENCE) -> Stamp:
        """Publish on `data_ready` that `data_type` is stored up to `as_of`.

        `data_type` is `hourly_candles`, `volatility` or `correlation_matrix`.
        """
        body = {"data_type": data_type, "instruments": list(instruments), "as_of": format_time(as_of)}
        return self.publish(topics.DATA_READY, data_type, body, fence=fence)

    def publish_candles(self, candles: Sequence[tuple[str, str, Mapping[str, object]]], *, fence: Fence = NO_FENCE) -> None:
        """Publish (instrument, interval, candle) on `candle_updates`, in order.

        `candle` has the form in which `/candles` returns it.
        """
        stamp = format_time(self._clock())
        messages = []
        for instrument, interval, candle in candles:
            body = orjson.dumps({"instrument": instrument, "interval": interval, "candle": candle, "timestamp": stamp})
            messages.append((topics.candle_topic(instrument, interval), body[:-1], "", "", ""))
        self._publish(topics.CANDLES, messages, fence=fence)

    def publish_events(self, events: Sequence[Mapping[str, object]], batch_id: str | None = None, *, fence: Fence = NO_FENCE) -> None:
        """Publish on `observability_events`, in order.

        An event without a `timestamp` happens now.
        """
        now = {"timestamp": format_time(self._clock())}
        messages = [(topics.EVENTS_TOPIC, orjson.dumps({**now, **event})[:-1], "", "", "") for event in events]
        self._publish(topics.OBSERVABILITY_EVENTS, messages, batch_id, fence)

    def publish_trades(self, trades: Sequence[Trade] | UsualBatch, batch_id: str, *, fence: Fence = NO_FENCE) -> None:
        """Append trades to their stream, in order, for the store only: they are never broadcast."""
        if isinstance(trades, UsualBatch) and not trades.admitted:
            trades = admit_batch(trades, self.windows(), _raise)
        elif not isinstance(trades, UsualBatch | AdmittedTrades):
            trades = admit_trades(trades, self.windows(), _raise)
        calls: list[ScriptCall] = []
        counts: dict[int, int] = {}
        for shard, texts in (self._lines_of(trades) if isinstance(trades, UsualBatch) else self._lines(trades)).items():
            counts[shard] = sum(number for number, *_ in texts)
            for place, text in enumerate(texts):
                calls.append(self._append_call(shard, batch_id, place * MAX_TRADES_PER_ENTRY, text, fence))
        if not all(self._run_scripts(_APPEND, calls, confirmed=True)):
            raise BusFull(f"{topics.TRADES}: {self._limit} trades wait to be stored")
        for shard, count in counts.items():
            self.measured.published.add(topics.TRADES, str(shard), by=count)

    def _lines(self, trades: AdmittedTrades) -> dict[int, list[_Lines]]:
        """shard -> its entries."""
        found: dict[int, list[_Lines]] = {}
        for shard, mine in self._by_shard(topics.TRADES, trades, lambda trade: trade.symbol).items():
            parts = [mine[start : start + MAX_TRADES_PER_ENTRY] for start in range(0, len(mine), MAX_TRADES_PER_ENTRY)]
            found[shard] = [_Lines(len(part), trades.lines if len(part) == len(trades) else trade_lines(part)) for part in parts]
        return found

    def _lines_of(self, batch: UsualBatch) -> dict[int, list[_Lines]]:
        """The same of lines that are grouped by symbol."""
        found: dict[int, list[_Lines]] = {}
        for shard, symbols in self._by_shard(topics.TRADES, list(batch.lines), lambda symbol: symbol).items():
            number, text = sum(batch.counts[symbol] for symbol in symbols), b"".join([batch.lines[symbol] for symbol in symbols])
            mine = frozenset(symbols)
            marks = mark_lines(mark for mark in batch.marks if mark[0] in mine)
            found[shard] = [_Lines(number, text, marks)] if number <= MAX_TRADES_PER_ENTRY else _cut(text)
        return found

    def _append_call(self, shard: int, batch_id: str, part: int, text: _Lines, fence: Fence) -> ScriptCall:
        publisher, _, number = batch_id.rpartition("/")
        names = (
            topics.stream_key(topics.TRADES),
            topics.count_key(topics.TRADES),
            topics.receipt_key(f"{publisher}:{topics.TRADES}", part),
            topics.FENCE_KEY,
        )
        content = (text.number, text.lines, fence.argument(), text.marks)
        return [self.key(name, shard) for name in names], [self._limit, number, RECEIPT_SECONDS, *content]

    def _check_quotes(self, ticks: Sequence[Tick]) -> None:
        """Raise `ValueError` for the first quote that is not admitted."""
        windows = {source: self.windows(source) for source in {tick.source for tick in ticks}}
        for tick in ticks:
            if "\0" in tick.source:
                raise ValueError("the source of a quote has a NUL character, which PostgreSQL does not take")
            check_quote(tick, windows[tick.source][tick.instrument])

    def _publish_alert(
        self,
        channel: str,
        topic: str,
        figures: Mapping[str, object],
        threshold: float,
        severity: str,
        message: str,
        batch_id: str | None,
        fence: Fence,
    ) -> Stamp:
        body = {**figures, "threshold": threshold, "severity": severity, "message": message}
        return self.publish(channel, topic, body, batch_id, fence=fence)


class _Lines(NamedTuple):
    """Trades of one entry: their number, their lines, and their `mark_lines` if these are known."""

    number: int
    lines: bytes
    marks: bytes = b""


def _cut(text: bytes) -> list[_Lines]:
    """Numbers and lines of the entries of a long text."""
    lines = text.splitlines(keepends=True)
    parts = [lines[start : start + MAX_TRADES_PER_ENTRY] for start in range(0, len(lines), MAX_TRADES_PER_ENTRY)]
    return [_Lines(len(part), b"".join(part)) for part in parts]


def _price_message(tick: Tick, timestamp: str) -> Message:
    occurrence = "" if tick.occurrence == 1 else str(tick.occurrence)
    return tick.instrument, _price_body(tick, timestamp), tick.source, tick.volume or "", occurrence


def _price_body(tick: Tick, timestamp: str) -> bytes:
    price = {"bid": tick.bid, "ask": tick.ask, "mid": tick.mid, "time": tick.time}
    return orjson.dumps({"instrument": tick.instrument, "price": price, "timestamp": timestamp})[:-1]


def _raise(trade: Trade, error: ValueError) -> None:
    raise error
