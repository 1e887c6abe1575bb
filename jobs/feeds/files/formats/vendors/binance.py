"""Files of Binance: recorded messages, and the archive of data.binance.vision. Pure.

The archive has klines, trades and aggregate trades, with or without a header. Times have 13 digits
(ms) or 16 (µs, spot files since 2025-01-01); a file has one width.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

import orjson

from db.intervals import INTERVALS
from db.messages import Trade
from jobs.feeds.binance.messages import trade_in, trade_of
from jobs.feeds.files.formats.clock import UnixTimes
from jobs.feeds.files.formats.columns import PRICES
from jobs.feeds.files.formats.format import Format, Head, Layout, recognised
from jobs.feeds.files.formats.minutes import minutes_of
from jobs.feeds.files.formats.model import Item, Kind, Line, Recognised
from jobs.feeds.files.formats.readers import Read, Shape, records

_VENDOR = "binance"
_MESSAGE = re.compile(r"\d{10,20} [{\[]", re.ASCII)
_IS_UNIX = re.compile(r"\d{13}|\d{16}", re.ASCII).fullmatch
_IS_TRUE_OR_FALSE = re.compile("true|false", re.IGNORECASE).fullmatch
_WIDTHS = (13, 16)
_MAKERS = {"true": True, "false": False}

_KLINES = ("open_time", *PRICES, "volume", "close_time")
_TRADES = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker")
_AGG_TRADES = ("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time")
# Indices of the fields of a line.
_KLINE_PLACES = {"time": (0,), **{price: (index,) for index, price in enumerate(PRICES, start=1)}, "volume": (5,), "trades": (8,)}
_TRADE_PLACES = {"time": (4,)}
_AGG_TRADE_PLACES = {"time": (5,)}


def _messages(head: Head) -> Recognised:
    keep = head.options.instrument
    return Recognised(
        "binance-messages", _VENDOR, "trades", None, "UTC", None, "the file's content", True, lambda lines: _recorded(lines, keep)
    )


def _recorded(lines: Iterable[Line], keep: str | None) -> Iterator[Item]:
    for number, line in lines:
        if '"trade"' not in line:
            continue
        try:
            trade = _trade_in_line(line)
        except ValueError as error:
            yield number, error
        else:
            if trade is not None and (keep is None or trade.symbol == keep):
                yield number, trade


def _trade_in_line(line: str) -> Trade | None:
    """The trade of a line; None for another message."""
    try:
        message = orjson.loads(line.partition(" ")[2])
        data = message.get("data", message)
        return trade_in(data) if data.get("e") == "trade" else None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no trade: {type(error).__name__} {error}") from None


def _has_header(head: Head, names: tuple[str, ...]) -> bool:
    return head.table.names[: len(names)] == names


def _is_kline(head: Head) -> bool:
    fields = head.fields()
    return len(fields) == 12 and all(map(_IS_UNIX, (fields[0], fields[6])))


def _is_trade(head: Head) -> bool:
    fields = head.fields()
    return len(fields) in (6, 7) and bool(_IS_UNIX(fields[4]) and _IS_TRUE_OR_FALSE(fields[5]))


def _is_agg_trade(head: Head) -> bool:
    fields = head.fields()
    return len(fields) in (7, 8) and bool(_IS_UNIX(fields[5]) and _IS_TRUE_OR_FALSE(fields[6]))


def _layout(head: Head, name: str, names: tuple[str, ...], places: Mapping[str, tuple[int, ...]]) -> Layout:
    kind: Kind = "trades" if name == "binance-trades" else "candles"
    header = _has_header(head, names)
    return Layout(name, _VENDOR, kind, places, ("time",), lambda: UnixTimes(_WIDTHS), "UTC", header=header, width=head.table.width)


def _klines(head: Head) -> Recognised:
    layout = _layout(head, "binance-klines", _KLINES, _KLINE_PLACES)
    return recognised(head, layout, interval=_interval_of(head.fields(1 if layout.header else 0)))


def _interval_of(fields: list[str]) -> str | None:
    """The interval from the open time of a kline to its close time, which is the last ms or µs."""
    if len(fields) <= 6 or not all(map(_IS_UNIX, (fields[0], fields[6]))):
        return None
    unit = 1_000 if len(fields[0]) == 13 else 1_000_000
    width = timedelta(seconds=(int(fields[6]) + 1 - int(fields[0])) / unit)
    return next((name for name, each in INTERVALS.items() if each == width), None)


def _trades(head: Head) -> Recognised:
    return recognised(head, _layout(head, "binance-trades", _TRADES, _TRADE_PLACES), read=_read_trades)


def _read_trades(shape: Shape) -> Read:
    def record(fields: list[str], symbol: str, moment: str) -> Trade:
        number, price, quantity, _, time, maker, *_ = (field.strip() for field in fields)
        return trade_of(symbol, _integer(number), price, quantity, int(time), _MAKERS.get(maker.lower()))

    return lambda lines: records(shape, lines, record)


def _integer(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() else text


def _agg_trades(head: Head) -> Recognised:
    layout = _layout(head, "binance-aggtrades", _AGG_TRADES, _AGG_TRADE_PLACES)
    found = recognised(head, layout, read=lambda shape: minutes_of(shape, head.name), trades_known=True)
    return replace(found, interval="1m")


FORMATS = (
    Format(
        "binance-messages", _VENDOR, "trades", "", (), lambda head: _MESSAGE.match(head.first) is not None, _messages, has_columns=False
    ),
    Format(
        "binance-klines", _VENDOR, "candles", ",".join((*_KLINES, "…")), ("time", *PRICES, "volume", "trades"),
        lambda head: _has_header(head, _KLINES) or _is_kline(head), _klines,
    ),
    Format(
        "binance-trades", _VENDOR, "trades", ",".join(_TRADES), ("price", "time"),
        lambda head: _has_header(head, _TRADES) or _is_trade(head), _trades, has_columns=False,
    ),
    Format(
        "binance-aggtrades", _VENDOR, "candles", ",".join((*_AGG_TRADES, "…")), ("price", "time"),
        lambda head: _has_header(head, _AGG_TRADES) or _is_agg_trade(head), _agg_trades, has_columns=False,
    ),
)  # fmt: skip
