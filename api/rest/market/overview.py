"""The body of `/market`: one piece of JSON per instrument, shared by all callers."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from flask import Flask, current_app

from api.rest.context import AppContext, context
from api.rest.market.kept import Kept
from api.rest.market.stale_after import thresholds
from config.access.patterns import Patterns
from db.calendars import CALENDARS, market_open
from db.market import MarketRow, market_rows
from db.timestamps import format_time

KEPT_SECONDS = 2.0
PACKED_BYTES = 64 * 1024  # 5,000 instruments have 3 MB, a tenth of it with gzip
_MAX_BODIES = 16  # of different readable instruments
_NAME = "tickwire.market"
_NO_PRICE: Mapping[str, Any] = dict.fromkeys(("bid", "ask", "mid", "time", "timestamp", "seq", "epoch"))


class Overview:
    """Figures of instruments at one time. `pieces` maps symbols to their JSON."""

    def __init__(self, pieces: Mapping[str, bytes], timestamp: str) -> None:
        self.pieces = pieces
        self._timestamp = timestamp
        self._lock = threading.Lock()
        self._bodies: dict[tuple[Patterns, bool], bytes] = {}  # (readable instruments, with gzip) -> body

    def body(self, symbols: Iterable[str]) -> bytes:
        """Return the answer with these instruments."""
        members = [orjson.dumps(symbol) + b":" + self.pieces[symbol] for symbol in symbols]
        return b'{"instruments":{%b},"count":%d,"timestamp":"%b"}' % (b",".join(members), len(members), self._timestamp.encode())

    def readable(self, reading: Patterns, *, packed: bool) -> bytes:
        """Return the answer with all instruments that these patterns permit, made once.

        `packed`: with gzip, if the answer has at least `PACKED_BYTES`; see `is_packed`.
        """
        with self._lock:
            body = self._bodies.get((reading, packed))
            if body is None:
                body = self.body(filter(reading.permits, self.pieces))
                if packed and len(body) >= PACKED_BYTES:
                    body = gzip.compress(body, compresslevel=1, mtime=0)
                if len(self._bodies) < _MAX_BODIES:
                    self._bodies[reading, packed] = body
            return body


def is_packed(body: bytes) -> bool:
    """Return True for an answer with gzip; JSON begins with a brace."""
    return not body.startswith(b"{")


def read_overview(app: AppContext, symbols: Iterable[str] | None = None) -> Overview:
    """Compute the figures of the enabled instruments, or of `symbols` without unknown ones.

    Raises `BusError` and `StoreError`.
    """
    names = None if symbols is None else list(symbols)
    latest = app.bus.latest_prices(names)
    stale_after = thresholds(app.bus.fed_by())
    now = app.clock()
    rows = app.reads.read(lambda cursor: list(market_rows(cursor, format_time(now), names)))
    open_now = {calendar: market_open(calendar, now) for calendar in CALENDARS}

    def piece(row: MarketRow) -> bytes:
        return _piece(row, latest.get(row.symbol), market_open=open_now[row.calendar], stale_after=stale_after(row.symbol, row.source))

    return Overview({row.symbol: piece(row) for row in rows}, format_time(now))


def _piece(row: MarketRow, latest: bytes | None, *, market_open: bool, stale_after: int) -> bytes:
    return orjson.dumps(
        {
            **(_NO_PRICE if latest is None else _price(latest)),
            "market_open": market_open,
            "stale_after": stale_after,
            "reference": row.reference,
            "day": None if row.day is None else orjson.Fragment(row.day),
            "spark": orjson.Fragment(row.spark),
        }
    )


def _price(body: bytes) -> dict[str, Any]:
    message = orjson.loads(body)
    return {**{name: message["price"][name] for name in ("bid", "ask", "mid", "time")}, **{name: message[name] for name in _STAMP}}


_STAMP = ("timestamp", "seq", "epoch")


def attach(app: Flask, shared: AppContext, monotonic: Callable[[], float]) -> None:
    """Give the app its overview of all enabled instruments, kept for `KEPT_SECONDS`."""
    app.extensions[_NAME] = Kept(KEPT_SECONDS, lambda: read_overview(shared), monotonic)


def current_overview() -> Overview:
    """Return the overview of all enabled instruments."""
    kept: Kept[Overview] = current_app.extensions[_NAME]
    return kept.get()


def overview_of(symbols: Iterable[str]) -> Overview:
    """Return the figures of these instruments, without unknown ones."""
    return read_overview(context(), symbols)
