"""Windows of time as an argument of SQL: rows outside are no "latest" row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class TimeWindow(Protocol):
    """Both ends included, in contract form. `db.admission.Window` is one."""

    @property
    def earliest(self) -> str:
        """The first time that is admitted."""

    @property
    def latest(self) -> str:
        """The last time that is admitted."""


# Joins the windows to a query that has a table `i` with the column `symbol`. Without a window there
# are no bounds.
JOIN_WINDOWS = """
LEFT JOIN LATERAL (
    SELECT earliest, latest FROM unnest(%(window_symbols)s::text[], %(earliest)s::timestamptz[], %(latest)s::timestamptz[])
        AS given (symbol, earliest, latest) WHERE given.symbol = i.symbol) w ON true
"""


def within_window(column: str) -> str:
    """SQL condition: the time lies in the window that `JOIN_WINDOWS` joined."""
    return f"{column} >= coalesce(w.earliest, '-infinity') AND {column} <= coalesce(w.latest, 'infinity')"


def window_arguments(windows: Mapping[str, TimeWindow] | None) -> dict[str, list[str]]:
    """The arguments of `JOIN_WINDOWS`; None sets no bounds."""
    known = windows or {}
    return {
        "window_symbols": list(known),
        "earliest": [window.earliest for window in known.values()],
        "latest": [window.latest for window in known.values()],
    }
