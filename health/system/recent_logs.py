"""The newest log records of all processes: `GET /api/system/logs/recent`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import orjson

from db.bus import LogStream

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MAX_RECORDS = 1_000  # of one answer
_FIELDS = ("timestamp", "level", "message", "service", "logger", "fields")


def recent_logs(bus: LogStream, *, level: str, limit: int, service: str | None = None, exact: bool = False) -> dict[str, Any]:
    """Return the answer of the route: records of at least `level`, the newest first.

    With `exact`, only records of that level. `service` is `hub`, `rest`, `jobs`, `observer` or
    `up`. Raises `BusError`.
    """
    lowest = _rank(level)
    logs: list[dict[str, Any]] = []
    for record in _records(bus):
        rank = _rank(record["level"])
        if len(logs) == limit:
            break
        if (rank == lowest if exact else rank >= lowest) and service in (None, record["service"]):
            logs.append(record)
    return {"logs": logs, "count": len(logs), "level": level}


def _records(bus: LogStream) -> Iterator[dict[str, Any]]:
    """The well-formed records of the stream, with exactly the fields of the contract."""
    for text in bus.recent_logs():
        try:
            found = orjson.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and all(isinstance(found.get(name), str) for name in _FIELDS[:-1]):
            fields = found.get("fields")
            yield {**{name: found[name] for name in _FIELDS[:-1]}, "fields": fields if isinstance(fields, dict) else {}}


def _rank(level: str) -> int:
    """The number of a level; that of INFO for an unknown name."""
    return logging.getLevelNamesMapping().get(level, logging.INFO)
