"""SQL of `metrics_execution_*` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.metrics.columns import Section
from db.metrics.marks import insert_seconds
from db.postgres import Cursor

EXECUTION = Section(
    "execution",
    ("bot", "strategy"),
    {
        **dict.fromkeys(("orders_submitted", "orders_filled", "orders_cancelled", "orders_rejected"), "last"),
        "latency_ms_sum": "sum",
        "latency_ms_samples": "count",
        "slippage_bps_sum": "sum",
        "slippage_bps_samples": "sum",
    },
    {"latency_ms": ("latency_ms_sum", "latency_ms_samples"), "slippage_bps": ("slippage_bps_sum", "slippage_bps_samples")},
)


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """One second of one strategy. The counts are those of the day so far.

    The sums cover the second. That of slippage is weighted by quantity, and its samples are the sum
    of these quantities.
    """

    time: datetime
    bot: str
    strategy: str
    orders_submitted: int | None
    orders_filled: int | None
    orders_cancelled: int | None
    orders_rejected: int | None
    latency_ms_sum: float | None = None
    latency_ms_samples: int = 0
    slippage_bps_sum: float | None = None
    slippage_bps_samples: float = 0.0


def insert_execution(cursor: Cursor, rows: Sequence[ExecutionRow]) -> int:
    """Insert the rows that are not stored yet, and mark their minutes; returns their number."""
    return insert_seconds(cursor, EXECUTION, rows)
