"""The JSON of `/metrics`: figures of all jobs processes, under established names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from db import topics
from db.timestamps import format_time
from health.reports import Report
from health.sources import reported_sources

_COUNTS = ("errorCount", "reconnectionCount", "totalTrades", "totalBatches")
_LIVE = "live"
_LARGEST = 2**52  # two of them add up to an exact number of JSON
_BUFFERED = (topics.PRICES, topics.TRADES)


def figures(jobs: Sequence[Report], acting: Report | None, now: datetime, *, database_connected: bool) -> dict[str, Any]:
    """Return the answer. `jobs` are the reports of the living jobs processes. `acting` is the one
    with the timed jobs, None if none has them.

    Rates and counts are added. Each mean is weighted with the number of its values. Without a
    report, figures are 0. So is each figure that a report does not have.
    """
    measured = [found for report in jobs if isinstance(found := report.part("metrics").get("performance"), Mapping)]
    counts = {name: int(_sum(each.get(name) for each in measured)) for name in _COUNTS}
    return {
        "timestamp": format_time(now),
        "performance": {
            "tradesPerSecond": float(_sum(each.get("tradesPerSecond") for each in measured)),
            "averageLatency": _mean(measured, "averageLatency", "measuredRecords"),
            "errorCount": counts["errorCount"],
            "reconnectionCount": counts["reconnectionCount"],
            "memoryUsage": 0 if acting is None else int(_number(acting.part("resources").get("rss_bytes"))),
            "batchProcessingTime": _mean(measured, "batchProcessingTime", "measuredBatches"),
        },
        "status": {
            "isRunning": acting is not None,
            "binanceConnected": _source_state(jobs, "binance") == _LIVE,
            "databaseConnected": database_connected,
            "bufferSize": 0 if acting is None else _unstored(acting),
            "totalTrades": counts["totalTrades"],
            "totalBatches": counts["totalBatches"],
            "uptime": 0.0 if acting is None else round(max(0.0, (now - acting.started).total_seconds()), 3),
        },
    }


def _mean(measured: Sequence[Mapping[str, Any]], name: str, weight: str) -> float:
    """The mean of all processes; one without a number of values counts as one value."""
    weights = [_number(each.get(weight, 1)) for each in measured]
    total = sum(weights)
    if len(measured) == 1 or not total:
        return float(max((_number(each.get(name)) for each in measured), default=0))
    return round(sum(_number(each.get(name)) * number for each, number in zip(measured, weights, strict=True)) / total, 3)


def _source_state(jobs: Sequence[Report], name: str) -> object:
    found: object = reported_sources(jobs, ()).get(name, {}).get("state")
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
