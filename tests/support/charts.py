"""The candle chart of the dashboard, and the candles of REST that it must show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from db.candles import CandleRow
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PRICES = ("open", "high", "low", "close")
_FIELDS = ("start_time", "end_time", *_PRICES, "volume", "complete")

Candle = dict[str, Any]


def stored(site: Site, symbol: str, interval: str, limit: int) -> list[Candle]:
    """Return the newest candles of REST, oldest first."""
    answer = site.get(f"/candles?symbol={symbol}&interval={interval}&order=desc&limit={limit}")
    return list(reversed(answer["candles"]))


def body_of(row: CandleRow) -> Candle:
    """Return a stored candle in the form of `/candles` and of the bus."""
    opened, high, low, close = row.mid
    return {
        "start_time": row.start_time, "end_time": row.end_time, "open": opened, "high": high, "low": low, "close": close,
        "volume": row.volume, "trades": row.trades, "complete": row.complete,
    }  # fmt: skip


def bars(page: Page) -> dict[str, Any]:
    """Return `interval`, candles and drawn bars of the open chart; empty if there is none."""
    found: dict[str, Any] | None = page.evaluate("() => globalThis.tickwire?.chart?.()")
    return found or {"interval": "", "candles": [], "drawn": []}


def shows(page: Page, wanted: list[Candle]) -> bool:
    """Return whether the chart has these candles, and draws all of them."""
    found = bars(page)
    if _values(found["candles"], _FIELDS) != _values(wanted, _FIELDS):
        return False
    return _values(found["drawn"], _PRICES) == [[float(value) for value in values] for values in _values(wanted, _PRICES)]


def _values(candles: list[Candle], names: tuple[str, ...]) -> list[list[Any]]:
    return [[each[name] for name in names] for each in candles]
