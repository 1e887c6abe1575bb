"""Pages of stored metrics: the records of several sections, one after the other."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from api.rest.errors import ApiError, invalid_payload
from api.rest.observability.exact import literal
from api.schemas.history import HistoryRequest
from db.metrics.columns import Section
from db.metrics.execution import EXECUTION
from db.metrics.history import SPANS, read_history
from db.metrics.market import MARKET
from db.metrics.strategy import STRATEGY
from db.metrics.system import SYSTEM
from db.postgres import Cursor
from db.timestamps import format_time, parse_time, time_before

_HOUR = timedelta(hours=1)
_NO_TOKEN = "Not a next_page_token of this request: use it with all other fields unchanged."  # noqa: S105 - no secret
_DIGEST_BYTES = 8

Row = Mapping[str, Any]
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of records: its section, the filters of a request for its keys, and its fields."""

    section: Section
    filters: Mapping[str, str]  # key -> field of the request
    fields: Callable[[Row], Record]
    summed: bool = False  # over all keys


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a page: the range, and (type, time, keys …) of the last record before it."""

    start: datetime
    end: datetime
    after: Sequence[str] | None = None


def _market(row: Row) -> Record:
    prices = {name: literal(row[name]) for name in ("last_price", "bid", "ask", "high", "low", "vwap", "volume")}
    return {"symbol": row["symbol"], **prices, "trades": row["trades"], "spread_bps": _ratio(row["spread_bps"])}


def _strategy(row: Row) -> Record:
    amounts = {name: literal(row[name]) for name in ("pnl", "daily_pnl", "realized_pnl", "unrealized_pnl")}
    counts = {"positions": row["positions"], "signals": row["signals"], "win_rate": _ratio(row["win_rate"])}
    return {"strategy_name": row["strategy"], "bot": row["bot"], **amounts, **counts}


def _execution(row: Row) -> Record:
    counts = {name: row[name] for name in ("orders_submitted", "orders_filled", "orders_cancelled", "orders_rejected")}
    ended = sum(row[name] or 0 for name in ("orders_filled", "orders_cancelled", "orders_rejected"))
    return {
        **counts,
        "fill_rate": (row["orders_filled"] or 0) / ended if ended else None,
        "avg_latency_ms": _ratio(row["latency_ms"]),
        "avg_slippage_bps": _ratio(row["slippage_bps"]),
    }


def _system(row: Row) -> Record:
    percentages = {name: _ratio(row[name]) for name in ("cpu_percent", "memory_percent", "disk_usage_percent")}
    return {
        **percentages,
        "uptime_seconds": row["uptime_seconds"],
        "health_status": row["health"],
        "active_alerts": row["active_alerts"],
    }


_OF_BOTS = {"bot": "bots", "strategy": "strategies"}
KINDS = {
    "market_data": Kind(MARKET, {"symbol": "symbols"}, _market),
    "strategy": Kind(STRATEGY, _OF_BOTS, _strategy),
    "execution": Kind(EXECUTION, _OF_BOTS, _execution, summed=True),
    "system": Kind(SYSTEM, {}, _system),
}


def read(cursor: Cursor, request: HistoryRequest, now: datetime) -> dict[str, Any]:
    """Return the answer for a request: a page of records by type, time and keys."""
    place = _place(request, now)
    found = list(_records(cursor, request, place))
    page, following = found[: request.limit], None
    if len(found) > request.limit:
        following = _token(request, Place(place.start, place.end, page[-1][0]))
    records = [record for _, record in page]
    return {
        "start_time": format_time(place.start),
        "end_time": format_time(place.end),
        "interval": request.interval,
        "data": records,
        "count": len(records),
        "next_page_token": following,
    }


def _records(cursor: Cursor, request: HistoryRequest, place: Place) -> Iterator[tuple[list[str], Record]]:
    """Yield up to `limit` + 1 records from the place on, each with (type, time, keys …)."""
    wanted = [name for name in KINDS if name in request.metric_types]
    left, after = request.limit + 1, place.after
    if after is not None:
        wanted = wanted[wanted.index(after[0]) :]
    for name in wanted:
        kind = KINDS[name]
        keys = () if kind.summed else kind.section.keys
        only = {key: values for key, field in kind.filters.items() if (values := getattr(request, field)) is not None}
        behind = [parse_time(after[1]), *after[2:]] if after is not None and after[0] == name else None
        rows = read_history(
            cursor,
            kind.section,
            request.interval,
            place.start,
            place.end,
            only=only,
            after=behind,
            limit=left,
            summed=kind.summed,
        )
        for row in rows:
            time = format_time(row["time"])
            yield [name, time, *(row[key] for key in keys)], {"type": name, "timestamp": time, **kind.fields(row)}
        left -= len(rows)
        if not left:
            return


def _ratio(value: float | None) -> float | None:
    return None if value is None else value + 0.0  # no negative zero


def _place(request: HistoryRequest, now: datetime) -> Place:
    """Return the place of the requested page. Raises `ApiError`."""
    if request.page_token is not None:
        return _read_token(request, request.page_token)
    if request.time_range is not None:
        return Place(now - SPANS[request.time_range], now)
    end = now if request.end_time is None else parse_time(request.end_time)
    start = time_before(end, _HOUR) if request.start_time is None else parse_time(request.start_time)
    if start > end:
        raise invalid_payload({"start_time": ["Must not be in the future."]})
    return Place(start, end)


def _digest(request: HistoryRequest) -> str:
    """Return a digest of the fields that must not change from page to page."""
    fields = [request.time_range, request.start_time, request.end_time, request.metric_types, request.symbols]
    text = orjson.dumps([*fields, request.strategies, request.bots, request.interval])
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()


def _token(request: HistoryRequest, place: Place) -> str:
    content = [_digest(request), format_time(place.start), format_time(place.end), place.after]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def _read_token(request: HistoryRequest, text: str) -> Place:
    """Return the place of a token. A forged one only selects another place."""
    try:
        digest, start, end, after = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if digest == _digest(request) and _is_place(after):
            return Place(parse_time(start), parse_time(end), after)
    except (ValueError, TypeError):
        raise _refused() from None
    raise _refused()


def _is_place(after: Any) -> bool:
    """Return True for (type, time, keys …) of a record. Raises `ValueError` if the time is none."""
    if not isinstance(after, list) or len(after) < 2 or not all(isinstance(each, str) and "\0" not in each for each in after):
        return False
    kind = KINDS.get(after[0])
    parse_time(after[1])
    return kind is not None and len(after) == 2 + (0 if kind.summed else len(kind.section.keys))


def _refused() -> ApiError:
    return invalid_payload({"page_token": [_NO_TOKEN]})
