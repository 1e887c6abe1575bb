"""Rows of candles from the prices that a source or a file has. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from db.candles import CandleRow, Ohlc
from db.decimals import halfway
from db.intervals import candle_end
from db.timestamps import format_time, parse_time


def candle_row(
    symbol: str,
    calendar: str,
    interval: str,
    start: str,
    mid: Ohlc | None,
    bid: Ohlc | None,
    ask: Ohlc | None,
    *,
    volume: str | None,
    trades: int | None,
    complete: bool,
    source: str,
) -> CandleRow:
    """The candle of these values; `start` is in contract form.

    `calendar` chooses the grid on which the candle ends. Mid is exactly halfway between bid and ask
    if it is missing. Without a volume, the candle has the number of its trades or quotes, else 0.
    Raises `ValueError` without mid and a side, and if no candle can begin at `start`.
    """
    if mid is None:
        if bid is None or ask is None:
            raise ValueError("neither mid prices nor both bid and ask")
        mid = _between(bid, ask)
    try:
        end = format_time(candle_end(calendar, interval, parse_time(start)))
    except OverflowError:
        raise ValueError(f"no candle begins at {start}") from None
    if volume is None:
        volume = str(trades or 0)
    return CandleRow(symbol, interval, start, end, mid, bid, ask, volume, trades, complete, source)


def _between(bid: Sequence[str], ask: Sequence[str]) -> Ohlc:
    opened, high, low, close = (halfway(*pair) for pair in zip(bid, ask, strict=True))
    return opened, high, low, close
