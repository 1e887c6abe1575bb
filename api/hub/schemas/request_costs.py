"""The number of tokens that an event takes from the bucket of its session. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from db.intervals import INTERVALS
from db.topics import BOOK_DEPTHS

ENTRIES_PER_TOKEN = 50
REPORTS_PER_TOKEN = 100

# (validated payload, number of instruments) -> tokens
Cost = Callable[[Mapping[str, Any], int], int]


def cheap(payload: Mapping[str, Any], instruments: int) -> int:
    """Return 1."""
    return 1


def statistics(payload: Mapping[str, Any], instruments: int) -> int:
    """Return the cost of figures over all clients and rooms."""
    return 5


def reports(payload: Mapping[str, Any], instruments: int) -> int:
    """Return 1, and 1 for each full 100 reports."""
    return 1 + len(payload["reports"]) // REPORTS_PER_TOKEN


def rooms(payload: Mapping[str, Any], instruments: int) -> int:
    """Return 1, and 1 for each full 50 entries of all lists; `"all"` has them all."""
    entries = (
        _count(payload["pairs"], instruments)
        + _count(payload["candles"], instruments * len(INTERVALS))
        + _count(payload["books"], instruments * len(BOOK_DEPTHS))
    )
    return 1 + entries // ENTRIES_PER_TOKEN


def _count(named: Any, all_of_them: int) -> int:
    return all_of_them if isinstance(named, str) else len(named)
