"""Bodies of the four sections of a snapshot, and their two JSON texts. Pure.

One text has prices, quantities and amounts as number literals with exact digits, the other as
strings. No float is made of a decimal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from db.figures.conversion import Total
from db.figures.output import OUTPUT_DECIMALS as OUTPUT_DECIMALS
from db.figures.output import decimal_text as decimal_text
from db.figures.output import rounded as rounded
from db.figures.positions import ZERO
from db.timestamps import format_time
from jobs.observer.figures.models import ExecutionMetric, MarketDataMetric, StrategyMetric, SystemMetric

Body = dict[str, Any]

_has_negative_zero = re.compile(rb"-0\.0(?=[,}\]])").search


class Rendered(NamedTuple):
    """The JSON texts of one section."""

    numbers: str  # decimals are number literals
    strings: str  # decimals are strings


class Entry(dict[str, Any]):
    """An entry of a section that never changes; its texts are made once."""

    __slots__ = ("_texts",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._texts: Rendered | None = None

    @property
    def texts(self) -> Rendered:
        """The texts of the entry."""
        if self._texts is None:
            self._texts = render(dict(self))
        return self._texts


class Entries:
    """The last entries of a section. A metric that is the same object as before keeps its entry."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, Entry]] = {}  # name -> metric, its entry

    def of(self, metrics: Mapping[str, Any], make: Callable[[Any], Body]) -> dict[str, Entry]:
        """Name -> entry of each metric; `make` is called for metrics that are new objects."""
        before, self._known = self._known, {}
        for name, metric in metrics.items():
            known = before.get(name)
            self._known[name] = known if known is not None and known[0] is metric else (metric, Entry(make(metric)))
        return {name: entry for name, (_, entry) in self._known.items()}


def render(body: Mapping[str, Any]) -> Rendered:
    """Render a section twice: decimals as number literals, and as strings.

    Values may be None, bool, int, float, str, Decimal, aware datetimes, mappings with string keys,
    sequences and dataclasses of them. NaN and infinity become null, negative zero becomes zero.
    """
    numbers = _dump(body, _literal, _numbers_of)
    if _has_negative_zero(numbers):
        body = _without_negative_zero(body)
        numbers = _dump(body, _literal, _numbers_of)
    return Rendered(numbers.decode(), _dump(body, decimal_text, _strings_of).decode())


def _numbers_of(entry: Entry) -> str:
    return entry.texts.numbers


def _strings_of(entry: Entry) -> str:
    return entry.texts.strings


def _dump(body: Mapping[str, Any], decimal: Callable[[Decimal], Any], text_of: Callable[[Entry], str]) -> bytes:
    def default(value: object) -> Any:
        if isinstance(value, Decimal):
            return decimal(value)
        if isinstance(value, datetime):
            return format_time(value)
        if isinstance(value, Entry):
            return orjson.Fragment(text_of(value))
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError(f"no JSON form of {type(value).__name__}")

    return orjson.dumps(body, default, orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS)


def _literal(value: Decimal) -> orjson.Fragment | None:
    text = decimal_text(value)
    return None if text is None else orjson.Fragment(text)


def _without_negative_zero(value: Any) -> Any:
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, Mapping):
        return {key: _without_negative_zero(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_negative_zero(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: _without_negative_zero(getattr(value, each.name)) for each in fields(value)}
    return value


def market_data_section(timestamp: datetime, metrics: Iterable[MarketDataMetric], entries: Entries | None = None) -> Body:
    """The section `market_data`; the averages are rounded, prices keep their digits.

    `entries` are those of the section before.
    """
    named = {metric.symbol: metric for metric in metrics}
    symbols = (entries or Entries()).of(named, _market_entry)
    trades, volume = 0, ZERO
    for metric in named.values():
        trades += metric.trades
        volume += metric.volume or ZERO
    return {
        "timestamp": timestamp,
        "symbols": symbols,
        "total_trades": trades,
        "total_volume": rounded(volume),
        "symbols_tracked": len(symbols),
    }


def _market_entry(metric: MarketDataMetric) -> Body:
    return {**_entry(metric, "symbol"), "vwap": rounded(metric.vwap), "twap": rounded(metric.twap)}


def strategy_section(
    timestamp: datetime, metrics: Iterable[StrategyMetric], pnl: Total, daily: Decimal | None, entries: Entries | None = None
) -> Body:
    """The section `strategy`; its amounts are rounded.

    `pnl` is the P&L of all strategies in the base currency, `daily` its change since 00:00.
    `entries` are those of the section before.
    """
    strategies = (entries or Entries()).of({metric.strategy_name: metric for metric in metrics}, _strategy_entry)
    return {
        "timestamp": timestamp,
        "strategies": strategies,
        "total_pnl": rounded(pnl.amount),
        "daily_pnl": rounded(daily),
        "open_positions": sum(each["positions"] for each in strategies.values()),
        "signals_generated": sum(each["signals"] for each in strategies.values()),
        "currency": pnl.currency,
        "incomplete": pnl.incomplete,
        "by_currency": {currency: rounded(amount) for currency, amount in pnl.by_currency.items()},
    }


def _strategy_entry(metric: StrategyMetric) -> Body:
    return _rounded_entry(metric, "strategy_name")


def strategies_of_bots(metrics: Iterable[tuple[str, StrategyMetric]]) -> Body:
    """The body with one row per bot and strategy, from (bot, figures); its amounts are rounded."""
    return {"strategies": [{"bot": bot, **_rounded_entry(metric, None)} for bot, metric in metrics]}


def execution_section(timestamp: datetime, metric: ExecutionMetric) -> Body:
    """The section `execution`."""
    return {"timestamp": timestamp, **_entry(metric)}


def system_section(timestamp: datetime, metric: SystemMetric) -> Body:
    """The section `system`."""
    return {"timestamp": timestamp, **_entry(metric)}


def stale_section(last: Mapping[str, Any]) -> Body:
    """The section of a collector that failed: its last values, marked; `{}` if it never had any."""
    return {**last, "stale": True, "error_code": "internal"} if last else {}


def _entry(metric: Any, key: str | None = None) -> Body:
    """The fields of a metric in their order, without the one that is the key of its entry."""
    return {each.name: getattr(metric, each.name) for each in fields(metric) if each.name != key}


def _rounded_entry(metric: Any, key: str | None) -> Body:
    entry = _entry(metric, key)
    for name, value in entry.items():
        if isinstance(value, Decimal):
            entry[name] = rounded(value)
        elif name == "fees_by_currency":
            entry[name] = {currency: rounded(amount) for currency, amount in value.items()}
    return entry
