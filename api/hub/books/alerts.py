"""Alerts about the books and their process, from the changes that the hub receives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from api.hub.books.states import LIVE, BookState
from db.scenarios.status import (
    DEGRADED_LAG_SECONDS,
    DEGRADED_QUEUE,
    LONGEST_NOT_LIVE_SECONDS,
    MISSED_HEARTBEATS,
    UNHEALTHY_QUEUE,
)

HEALTHY, UNHEALTHY = "healthy", "unhealthy"


class Alert(NamedTuple):
    """An alert in contract form. `symbol` None: it is about all books together.

    `value` exceeds `threshold`; both are None if the event has no number.
    """

    severity: str  # "warning", or "critical"
    code: str
    message: str
    symbol: str | None
    value: float | None
    threshold: float | None


def book_alert(state: BookState) -> Alert | None:
    """Return the alert about a book that leaves `live`; None for any other change."""
    body = state.body
    if body["previous"] != LIVE or state.state == LIVE:
        return None
    message = f"The book of {state.instrument} is not live: it is {state.state} ({body['reason']})."
    return Alert("warning", body["reason"], message, state.instrument, body["received_id"], body["expected_id"])


def status_alert(before: str, status: Mapping[str, Any], *, heartbeat_age: float, heartbeat_interval: float) -> Alert | None:
    """Return the alert about a status that is worse than the one `before`, else None.

    `status` is the body of `/status`; times are seconds.
    """
    now = status["status"]
    if now in (before, HEALTHY) or before == UNHEALTHY:
        return None
    severity = "critical" if now == UNHEALTHY else "warning"
    code, cause, value, threshold = _cause(status, heartbeat_age, heartbeat_interval)
    return Alert(severity, code, f"The status is {now}: {cause}.", None, value, threshold)


def _cause(status: Mapping[str, Any], age: float, interval: float) -> tuple[str, str, float | None, float | None]:
    """Return code, text, value and threshold of the cause of a status that is not healthy."""
    is_unhealthy = status["status"] == UNHEALTHY
    if age > MISSED_HEARTBEATS * interval:
        return "heartbeat", "no heartbeat arrives", round(age, 3), MISSED_HEARTBEATS * interval
    limit = (UNHEALTHY_QUEUE if is_unhealthy else DEGRADED_QUEUE) * status["queue_max"]
    queue = max(status["current_queue_size"], status.get("queue_peak") or 0)
    if queue > limit:
        return "queue", "the queue is too long", queue, limit
    if is_unhealthy:
        return "books", f"a book is not live for more than {LONGEST_NOT_LIVE_SECONDS:g} s", None, LONGEST_NOT_LIVE_SECONDS
    if status["lag_ms"] > DEGRADED_LAG_SECONDS * 1_000:
        return "lag", "messages are processed too late", status["lag_ms"], DEGRADED_LAG_SECONDS * 1_000
    away = sum(state != LIVE for state in status["books"].values())
    return "books", "not all books are live", away, 0
