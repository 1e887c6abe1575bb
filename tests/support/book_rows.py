"""Rows of the tables of books, as tests store them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from db.book_snapshots import BookSnapshotRow
from db.book_tops import BookTop
from db.scenarios.run_record import RunRecord
from db.timestamps import format_time

SYMBOL = "BTCUSDT"
# The best levels of spot BTCUSDT on 2024-08-08 after the first diff of the recording.
BID, BID_QTY, ASK, ASK_QTY = "61837.63000000", "3.78826000", "61837.64000000", "1.26182000"


def top(time: datetime, number: int = 1, **changes: Any) -> BookTop:
    """A top with values that differ by `number`."""
    values: dict[str, Any] = {
        "symbol": SYMBOL,
        "time": format_time(time),
        "bid": BID,
        "bid_qty": f"{number}.50000000",
        "ask": ASK,
        "ask_qty": "0.50000000",
        "weighted_mid": "61837.6375",
        "imbalance": 0.5,
        "update_id": 50093239224 + number,
        "state": "live",
    }
    return BookTop(**{**values, **changes})


def stored_book(time: datetime, number: int = 1, **changes: Any) -> BookSnapshotRow:
    """A book of one level a side."""
    body = {"bids": [[BID, f"{number}.50000000"]], "asks": [[ASK, ASK_QTY]]}
    return BookSnapshotRow(**{"symbol": SYMBOL, "time": format_time(time), "update_id": 50093239224 + number, "body": body, **changes})


def scenario_run(run_id: str, started: datetime, **changes: Any) -> RunRecord:
    """A finished run of a minute."""
    values: dict[str, Any] = {
        "run_id": run_id,
        "scenario": "burst-mode",
        "started": started,
        "ended": started + timedelta(minutes=1),
        "seed": 1,
        "parameters": {"name": "burst-mode", "seed": 1, "faults": []},
        "peak_queue": 500,
        "peak_lag_ms": 5012.25,
        "gaps": 0,
        "resyncs": 2,
        "detect_seconds": 1.5,
        "recover_seconds": 5.625,
        "wrong_books": 0,
        "outcome": "finished",
        "timeline": ({"second": 0, "phase": 0, "status": "healthy", "queue": 0, "lag_ms": 0.5, "books": {SYMBOL: "live"}},),
    }
    return RunRecord(**{**values, **changes})
