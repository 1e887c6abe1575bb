"""SQL of `alerts`: open alerts, and changes that were not sent to clients yet (store layer).

Several processes change alerts: the jobs, the observer, and the hub and REST for people. Only the
observer sends the changes to clients. `announced` is the last state that it has sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from db.alerts import ACKNOWLEDGED, FIRING, RESOLVED, SYSTEM_TYPES, SystemAlert
from db.postgres import Cursor
from db.timestamps import format_time

_SELECT = (
    "SELECT id, alert_id, type, subject, severity, state, symbol, symbol2, value, previous, threshold, message, time, updated_at,"
    " acknowledged_at, acknowledged_by, comment, resolved_at, announced FROM alerts"
)


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """One row of `alerts`. `id` is 0 if the row is not stored yet."""

    id: int
    alert_id: str
    type: str
    subject: str
    severity: str
    state: str
    symbol: str | None
    symbol2: str | None
    value: float | None
    previous: float | None
    threshold: float | None
    message: str
    time: datetime
    updated_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    comment: str | None = None
    resolved_at: datetime | None = None
    announced: str | None = None

    @classmethod
    def of(cls, alert: SystemAlert) -> StoredAlert:
        """The row of an alert that fires and is not stored yet."""
        return cls(
            0, alert.alert_id, alert.type, alert.subject, alert.severity, FIRING, None, None, alert.value, None, alert.threshold,
            alert.message, alert.time, alert.time,
        )  # fmt: skip

    @property
    def key(self) -> str:
        """TYPE:SUBJECT."""
        return f"{self.type}:{self.subject}"

    @property
    def active(self) -> bool:
        """True until the alert is resolved."""
        return self.state != RESOLVED

    def resolved(self, now: datetime) -> StoredAlert:
        """The row after the end of its episode."""
        return replace(self, state=RESOLVED, resolved_at=now, updated_at=now)

    def body(self) -> dict[str, Any]:
        """The alert in contract form."""
        return {
            "alert_id": self.alert_id,
            "type": self.type,
            "subject": self.subject,
            "severity": self.severity,
            "state": self.state,
            "active": self.active,
            "symbol": self.symbol,
            "symbol2": self.symbol2,
            "value": _number(self.value),
            "previous": _number(self.previous),
            "threshold": _number(self.threshold),
            "message": self.message,
            "time": format_time(self.time),
            "updated_at": format_time(self.updated_at),
            "acknowledged_at": _time(self.acknowledged_at),
            "acknowledged_by": self.acknowledged_by,
            "comment": self.comment,
            "resolved_at": _time(self.resolved_at),
        }


def open_alerts(cursor: Cursor) -> list[StoredAlert]:
    """The firing and acknowledged alerts of every type, the oldest first."""
    cursor.execute(f"{_SELECT} WHERE state <> 'resolved' ORDER BY time, id")
    return [StoredAlert(*row) for row in cursor.fetchall()]


def unannounced_alerts(cursor: Cursor, limit: int = 500) -> list[StoredAlert]:
    """At most `limit` alerts whose state was not sent to clients yet, in the order of rows."""
    cursor.execute(f"{_SELECT} WHERE announced IS DISTINCT FROM state ORDER BY id LIMIT %s", (limit,))
    return [StoredAlert(*row) for row in cursor.fetchall()]


def changes_of(alert: StoredAlert) -> list[StoredAlert]:
    """The alert at each state that was not announced yet, in their order.

    An alert that fired, was acknowledged and was resolved since then has three of them.
    """
    fired = replace(alert, state=FIRING, updated_at=alert.time, acknowledged_at=None, acknowledged_by=None, comment=None, resolved_at=None)
    found = [fired]
    if alert.acknowledged_at is not None:
        found.append(replace(alert, state=ACKNOWLEDGED, updated_at=alert.acknowledged_at, resolved_at=None))
    if alert.state == RESOLVED:
        found.append(alert)
    states = [each.state for each in found]
    return found[states.index(alert.announced) + 1 :] if alert.announced in states else found


def mark_announced(cursor: Cursor, alert: StoredAlert, now: datetime) -> None:
    """Note that the bus has accepted the alert's state, which it sends to clients."""
    cursor.execute(
        "UPDATE alerts SET announced = %(state)s, published = CASE WHEN type IN %(types)s THEN coalesce(published, %(now)s)"
        " ELSE published END WHERE id = %(id)s",
        {"state": alert.state, "types": SYSTEM_TYPES, "now": now, "id": alert.id},
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _number(value: float | None) -> float | int | None:
    """A number as a person writes it: 95, not 95.0."""
    return int(value) if value is not None and float(value).is_integer() else value
