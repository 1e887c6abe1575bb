"""The JSON of `/metrics`: figures of the acting jobs process, under established names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from db import topics
from db.timestamps import format_time
from health.reports import Report

_RATES = ("tradesPerSecond", "averageLatency", "batchProcessingTime")
_COUNTS = ("errorCount", "reconnectionCount", "totalTrades", "totalBatches")
_LIVE = "live"
_LARGEST = 2**52  # two of them add up to an exact number of JSON
_BUFFERED = (topics.PRICES, topics.TRADES)


def figures(jobs: Report | None, now: datetime, *, database_connected: bool) -> dict[str, Any]:
    """Return the answer. `jobs` is the report of the acting jobs process, None if none reports.

    Without a report, figures are 0. So is each figure that the report does not have.
    """
    reported = {} if jobs is None else jobs.part("metrics").get("performance")
    measured = reported if isinstance(reported, Mapping) else {}
    rates = {name: float(_number(measured.get(name))) for name in _RATES}
    counts = {name: int(_number(measured.get(name))) for name in _COUNTS}
    return {
        "timestamp": format_time(now),
        "performance": {
            "tradesPerSecond": rates["tradesPerSecond"],
            "averageLatency": rates["averageLatency"],
            "errorCount": counts["errorCount"],
            "reconnectionCount": counts["reconnectionCount"],
            "memoryUsage": 0 if jobs is None else int(_number(jobs.part("resources").get("rss_bytes"))),
            "batchProcessingTime": rates["batchProcessingTime"],
        },
        "status": {
            "isRunning": jobs is not None,
            "binanceConnected": jobs is not None and _source_state(jobs, "binance") == _LIVE,
            "databaseConnected": database_connected,
            "bufferSize": 0 if jobs is None else _unstored(jobs),
            "totalTrades": counts["totalTrades"],
            "totalBatches": counts["totalBatches"],
            "uptime": 0.0 if jobs is None else round(max(0.0, (now - jobs.started).total_seconds()), 3),
        },
    }


def _source_state(jobs: Report, name: str) -> object:
    found: object = jobs.part("sources").get(name, {}).get("state")
    return found


def _unstored(jobs: Report) -> int:
    """Unstored prices and trades."""
    counts = jobs.part("writer").get("unstored")
    return int(_sum(counts.get(channel) for channel in _BUFFERED)) if isinstance(counts, Mapping) else 0


def _sum(values: Iterable[object]) -> float:
    return sum(map(_number, values))


def _number(value: object) -> float:
    """The number that another process has reported; 0 if it is none, or larger than any count."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) <= _LARGEST else 0  # type: ignore[arg-type,return-value]
