"""SQL of `metrics_system_*` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.metrics.columns import Section
from db.metrics.marks import insert_seconds
from db.postgres import Cursor

_PERCENTAGES = ("cpu_percent", "memory_percent", "disk_usage_percent")

SYSTEM = Section(
    "system",
    (),
    {
        **{f"{name}_{part}": rule for name in _PERCENTAGES for part, rule in (("sum", "sum"), ("max", "max"), ("samples", "count"))},
        "health": "worst",
        "active_alerts": "max",
        "uptime_seconds": "last",
    },
    {name: (f"{name}_sum", f"{name}_samples") for name in _PERCENTAGES},
)


@dataclass(frozen=True, slots=True)
class SystemRow:
    """One second of the system. `health` is a value of `db.metrics.columns.HEALTH`."""

    time: datetime
    cpu_percent_sum: float | None
    cpu_percent_max: float | None
    cpu_percent_samples: int
    memory_percent_sum: float | None
    memory_percent_max: float | None
    memory_percent_samples: int
    disk_usage_percent_sum: float | None
    disk_usage_percent_max: float | None
    disk_usage_percent_samples: int
    health: str | None
    active_alerts: int | None
    uptime_seconds: float | None


def insert_system(cursor: Cursor, rows: Sequence[SystemRow]) -> int:
    """Insert the rows that are not stored yet, and mark their minutes; returns their number."""
    return insert_seconds(cursor, SYSTEM, rows)
