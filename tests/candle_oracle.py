"""Candles computed the plain way, from the rows themselves: what the roll-up's are to be equal to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from db.intervals import INTERVALS, candle_end, candle_start
from db.messages import Trade
from db.postgres import Store
from db.prices import PriceRow
from db.timestamps import parse_time

Key = tuple[str, str, datetime]  # symbol, interval, start
Side = tuple[Decimal, Decimal, Decimal, Decimal] | None


@dataclass(frozen=True, slots=True)
class Candle:
    """What matters of a stored candle; numbers are compared as numbers."""

    end: datetime
    mid: Side
    bid: Side
    ask: Side
    volume: Decimal
    trades: int | None
    complete: bool
    source: str


def expected(prices: Iterable[PriceRow], trades: Iterable[Trade], kinds: Mapping[str, str], ended: datetime) -> dict[Key, Candle]:
    """Every candle of these rows. Each interval is computed from the rows alone, none from the interval below it."""
    of_trades: dict[Key, list[Trade]] = defaultdict(list)
    for trade in sorted(trades, key=lambda each: (each.time, each.trade_id)):
        of_trades[_minute(trade.symbol, trade.time)].append(trade)
    of_ticks: dict[Key, list[PriceRow]] = defaultdict(list)
    for row in sorted(prices, key=lambda each: (each.time, each.epoch, each.seq)):
        if row.source != "binance" and _minute(row.instrument, row.time) not in of_trades:
            of_ticks[_minute(row.instrument, row.time)].append(row)
    minutes = {key: _of_trades(rows) for key, rows in of_trades.items()} | {key: _of_ticks(rows) for key, rows in of_ticks.items()}
    found: dict[Key, list[_Part]] = defaultdict(list)
    for (symbol, _, minute), part in sorted(minutes.items(), key=lambda item: item[0][2]):
        for interval in INTERVALS:
            found[symbol, interval, candle_start(kinds[symbol], interval, minute)].append(part)
    return {key: _candle(kinds[key[0]], key, parts, ended) for key, parts in found.items()}


def stored(store: Store) -> dict[Key, Candle]:
    """Every candle of the store."""
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT symbol, interval, start_time, end_time, open, high, low, close, bid_open, bid_high, bid_low, bid_close,"
            " ask_open, ask_high, ask_low, ask_close, volume, trades, complete, source FROM candles"
        )
        return {
            (row[0], row[1], row[2]): Candle(
                row[3], _side(row[4:8]), _side(row[8:12]), _side(row[12:16]), Decimal(row[16]), row[17], row[18], row[19]
            )
            for row in cursor.fetchall()
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """One minute's rows: their prices in order, `bid` and `ask` of ticks alone."""

    mid: list[Decimal]
    bid: list[Decimal] | None
    ask: list[Decimal] | None
    volume: Decimal
    count: int
    source: str


def _minute(symbol: str, time: str) -> Key:
    return symbol, "1m", candle_start("", "1m", parse_time(time))


def _of_trades(rows: list[Trade]) -> _Part:
    return _Part(
        [Decimal(row.price) for row in rows], None, None, sum((Decimal(row.quantity) for row in rows), Decimal()), len(rows), "trades"
    )


def _of_ticks(rows: list[PriceRow]) -> _Part:
    volumes = [Decimal(row.volume) for row in rows if row.volume is not None]
    volume = sum(volumes, Decimal()) if volumes else Decimal(len(rows))
    mid, bid, ask = ([Decimal(getattr(row, name)) for row in rows] for name in ("mid", "bid", "ask"))
    return _Part(mid, bid, ask, volume, len(rows), "ticks")


def _candle(kind: str, key: Key, parts: list[_Part], ended: datetime) -> Candle:
    end = candle_end(kind, key[1], key[2])
    quoted = kind == "fx" and all(part.bid for part in parts)
    return Candle(
        end=end,
        mid=_ohlc([price for part in parts for price in part.mid]),
        bid=_ohlc([price for part in parts for price in part.bid or []]) if quoted else None,
        ask=_ohlc([price for part in parts for price in part.ask or []]) if quoted else None,
        volume=sum((part.volume for part in parts), Decimal()),
        trades=sum(part.count for part in parts),
        complete=end <= ended,
        source="trades" if any(part.source == "trades" for part in parts) else "ticks",
    )


def _ohlc(prices: list[Decimal]) -> Side:
    return prices[0], max(prices), min(prices), prices[-1]


def _side(columns: tuple[Any, ...]) -> Side:
    if None in columns:
        assert set(columns) == {None}
        return None
    opened, high, low, close = (Decimal(text) for text in columns)
    return opened, high, low, close
