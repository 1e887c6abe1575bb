"""The REST API of the stand-in's exchange: requests and responses without the network."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any

from tests.standins.binance_depth import PATHS, DepthBooks, limit_of, weight_of
from tests.standins.binance_market import Market
from tests.standins.binance_streams import Refusals, Streams

_WEIGHTS = {"/api/v3/historicalTrades": 25, "/api/v3/aggTrades": 4}
_WEIGHT_LIMIT = 6000
_LARGEST_PAGE = 1000


class ApiError(Exception):
    """An error of the exchange: HTTP status, error code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "msg": message}


@dataclass(slots=True)
class Call:
    """One HTTP request."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def number(self, name: str) -> int | None:
        """Return a parameter as an integer, or None if it is missing."""
        if name not in self.parameters:
            return None
        if not self.parameters[name].isdigit():
            raise ApiError(400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(self.parameters[name])


@dataclass(slots=True)
class Exchange:
    """The state that both servers share."""

    market: Market
    streams: Streams
    weight_window: float
    refusals: Refusals = field(default_factory=Refusals)
    requests: dict[str, int] = field(default_factory=dict)
    repeated_pages: int = 0
    short_pages: int = 0
    short_size: int = 0
    bad_items: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)  # (symbol, id) -> changed fields
    away: asyncio.Event = field(default_factory=asyncio.Event)  # set while it refuses all requests
    depth_refusals: Refusals = field(default_factory=Refusals)  # of snapshots alone
    used_weight: int | None = None  # the reported one; None: the real one
    depth: DepthBooks = field(init=False)
    _delay: float | None = 0.0  # of the answer that is being made; None: it is not sent
    _weights: list[tuple[float, int]] = field(default_factory=list)
    _last_page: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.depth = DepthBooks(self.market)

    def take_delay(self) -> float | None:
        """The seconds to wait before the present answer is sent; None: never."""
        delay, self._delay = self._delay, 0.0
        return delay

    def answer(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        """Return status, body and headers."""
        self.requests[call.path] = self.requests.get(call.path, 0) + 1
        used = self._weigh(call)
        if self.used_weight is not None:
            used = self.used_weight
        headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
        refusals = self.depth_refusals if call.path in PATHS and self.depth_refusals.count else self.refusals
        if refusals.take():
            if refusals.retry_after is not None:
                headers["Retry-After"] = f"{refusals.retry_after:g}"
            return refusals.status, {"code": -1003, "msg": "Too much request weight used; please use WebSocket Streams."}, headers
        if used > _WEIGHT_LIMIT:
            return 429, {"code": -1003, "msg": "Too many requests."}, {**headers, "Retry-After": str(math.ceil(self.weight_window))}
        try:
            return 200, self._api(call), headers
        except ApiError as error:
            return error.status, error.body, headers

    def _weigh(self, call: Call) -> int:
        path = call.path
        weight = weight_of(path, limit_of(path, call.number("limit"))) if path in PATHS else _WEIGHTS.get(path, 1)
        now = time.monotonic()
        self._weights = [each for each in self._weights if each[0] > now - self.weight_window]
        self._weights.append((now, weight))
        return sum(weight for _, weight in self._weights)

    def _api(self, call: Call) -> Any:
        if call.path == "/api/v3/ping":
            return {}
        if call.path == "/api/v3/time":
            entries, position = self.market.entries, self.streams.position
            times = [entry.deal.time for entry in entries[max(0, position - 1000) : position] if entry.deal]
            return {"serverTime": times[-1] if times else 0}
        if call.path in PATHS:
            return self._snapshot(call)
        if call.path not in _WEIGHTS:
            raise ApiError(404, -1, "Not found.")
        symbol, limit = call.parameters.get("symbol"), call.number("limit") or 500
        if not symbol:
            raise ApiError(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if symbol not in self.market.deals:
            raise ApiError(400, -1121, "Invalid symbol.")
        limit = min(limit, _LARGEST_PAGE)
        micro = self.streams.micro or call.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"
        if call.path.endswith("aggTrades"):
            return self._aggregates(call, symbol, limit, micro)
        page = self.market.trades(symbol, self.streams.position, call.number("fromId"), limit, micro)
        if self.short_pages and page:
            self.short_pages -= 1
            page = page[: self.short_size]
        page = [self._item(symbol, item) for item in page]
        if self.repeated_pages and self._last_page:
            self.repeated_pages -= 1
            return self._last_page
        self._last_page = page
        return page

    def _snapshot(self, call: Call) -> Any:
        symbol = call.parameters.get("symbol")
        if PATHS[call.path] != self.market.kind:
            raise ApiError(404, -1, "Not found.")
        if symbol not in self.market.snapshots:
            raise ApiError(400, -1121, "Invalid symbol.")
        fault = self.depth.take_fault(symbol)
        self._delay = None if fault.hang else fault.delay
        if fault.body is not None:
            return fault.body
        return self.depth.answer(symbol, limit_of(call.path, call.number("limit")), self.streams.position, fault)

    def _item(self, symbol: str, item: dict[str, Any]) -> dict[str, Any]:
        changed = {**item, **self.bad_items.get((symbol, item["id"]), {})}
        return {name: value for name, value in changed.items() if value is not None}

    def _aggregates(self, call: Call, symbol: str, limit: int, micro: bool) -> Any:
        first, start, end = call.number("fromId"), call.number("startTime"), call.number("endTime")
        if first is None and start is None and end is None:
            groups = self.market.traded(symbol, self.streams.position)
            first = max(0, groups[-1].group - limit + 1) if groups else 0
        start, end = _in_milliseconds(start), None if end is None else _in_milliseconds(end)
        return self.market.aggregates(symbol, self.streams.position, first=first, start=start, end=end, limit=limit, micro=micro)


def _in_milliseconds(moment: int | None) -> int:
    """Convert a time parameter in milli- or microseconds to milliseconds; None becomes 0."""
    if moment is None:
        return 0
    return -(-moment // 1000) if moment >= 10**14 else moment
