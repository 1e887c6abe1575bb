"""SQL of `alerts` and `alert_episodes` (store layer).

An alert is `firing`, then perhaps `acknowledged`, then `resolved`. At most one alert of a key and
severity is open, that is, not resolved. A resolved alert never changes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from db.postgres import Cursor, scalar

Subject = tuple[str, str]  # an instrument and '', or a pair
AcknowledgeOutcome = Literal["acknowledged", "repeated", "unknown", "resolved"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLVE = "UPDATE alerts SET state = 'resolved', resolved_at = %(now)s, updated_at = %(now)s"

FIRING, ACKNOWLEDGED, RESOLVED = STATES = ("firing", "acknowledged", "resolved")
WARNING, CRITICAL = SEVERITIES = ("warning", "critical")
FIGURE_TYPES = ("volatility", "correlation")  # of instruments: readers of prices may read them
SYSTEM_TYPES = ("system", "strategy", "execution")
ALERT_TYPES = (*FIGURE_TYPES, *SYSTEM_TYPES)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert about figures, with those of `time`.

    `previous` and `symbol2` are for correlations only.
    """

    type: str  # one of FIGURE_TYPES
    symbol: str
    symbol2: str | None
    severity: str
    time: datetime
    value: float
    previous: float | None
    threshold: float
    message: str

    @property
    def subject(self) -> str:
        """The instrument, or the pair `A|B`."""
        return subject_text((self.symbol, self.symbol2 or ""))

    @property
    def key(self) -> str:
        """TYPE:SUBJECT; at most one alert of a key and severity is open."""
        return f"{self.type}:{self.subject}"

    @property
    def alert_id(self) -> str:
        """TYPE:SUBJECT:SEVERITY:EPOCHMS, opaque to clients."""
        return alert_id(self.key, self.severity, self.time)


@dataclass(frozen=True, slots=True)
class SystemAlert:
    """One alert about the system, a strategy or executions.

    `value` and `threshold` are None if the rule judges a state.
    """

    type: str  # one of SYSTEM_TYPES
    subject: str
    severity: str
    time: datetime
    value: float | None
    threshold: float | None
    message: str

    @property
    def key(self) -> str:
        """TYPE:SUBJECT; at most one alert of a key and severity is open."""
        return f"{self.type}:{self.subject}"

    @property
    def alert_id(self) -> str:
        """TYPE:SUBJECT:SEVERITY:EPOCHMS, opaque to clients."""
        return alert_id(self.key, self.severity, self.time)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The effect of an acknowledgement.

    `at` and `by` are those of the first acknowledgement that took effect; None if the alert is
    unknown or resolved, and `by` also without a name.
    """

    outcome: AcknowledgeOutcome
    alert_id: str
    at: datetime | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """The state of one subject's alert rule, evaluated up to `as_of`."""

    severity: str | None
    alerted: datetime | None
    told: str | None
    as_of: datetime


def alert_key(kind: str, subject: Subject) -> str:
    """The key of alerts of this type about an instrument, or a pair `A|B`."""
    return f"{kind}:{subject_text(subject)}"


def subject_text(subject: Subject) -> str:
    """The text of an instrument, or of a pair: `A|B`."""
    return "|".join(name for name in subject if name)


def alert_id(key: str, severity: str, moment: datetime) -> str:
    """The id of an alert that fires at this moment."""
    return f"{key}:{severity}:{(moment - _EPOCH) // timedelta(milliseconds=1)}"


def write_alerts(cursor: Cursor, alerts: Sequence[Alert]) -> int:
    """Insert the alerts that are not stored yet, as firing; returns their number.

    An earlier open alert of the same key and severity is resolved: its episode is over.
    """
    new = 0
    for alert in alerts:
        cursor.execute(
            f"{_RESOLVE} WHERE key = %(key)s AND severity = %(severity)s AND state <> 'resolved' AND time < %(now)s",
            {"key": alert.key, "severity": alert.severity, "now": alert.time},
        )
        new += raise_alert(cursor, alert)
    return new


def raise_alert(cursor: Cursor, alert: Alert | SystemAlert) -> bool:
    """Insert the alert as firing; False if it is stored, or one of its key and severity is open."""
    instruments = (alert.symbol, alert.symbol2, alert.previous) if isinstance(alert, Alert) else (None, None, None)
    cursor.execute(
        "INSERT INTO alerts (symbol, symbol2, previous, type, severity, time, value, threshold, message,"
        " subject, key, alert_id, state, updated_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'firing', %s) ON CONFLICT DO NOTHING",
        (
            *instruments, alert.type, alert.severity, alert.time, alert.value, alert.threshold, alert.message,
            alert.subject, alert.key, alert.alert_id, alert.time,
        ),
    )  # fmt: skip
    return cursor.rowcount > 0


def acknowledge(cursor: Cursor, alert_id: str, by: str | None, comment: str | None, now: datetime) -> Acknowledgement:
    """Acknowledge a firing alert in one statement, so that of several calls one takes effect.

    `repeated`: it was acknowledged before, and keeps its first name, comment and time. The observer
    sends the change to clients. Call it first in its transaction: the role of hub and REST reads by
    default.
    """
    if "\0" in alert_id:  # PostgreSQL takes none
        return Acknowledgement("unknown", alert_id)
    cursor.execute("SET TRANSACTION READ WRITE")
    cursor.execute(
        "UPDATE alerts SET state = 'acknowledged', acknowledged_at = %(now)s, acknowledged_by = %(by)s, comment = %(comment)s,"
        " updated_at = %(now)s WHERE alert_id = %(alert_id)s AND state = 'firing'",
        {"now": now, "by": by, "comment": comment, "alert_id": alert_id},
    )
    if cursor.rowcount:
        return Acknowledgement("acknowledged", alert_id, now, by)
    cursor.execute("SELECT state, acknowledged_at, acknowledged_by FROM alerts WHERE alert_id = %s", (alert_id,))
    row = cursor.fetchone()
    if row is None:
        return Acknowledgement("unknown", alert_id)
    return Acknowledgement("resolved", alert_id) if row[0] == RESOLVED else Acknowledgement("repeated", alert_id, row[1], row[2])


def resolve_alerts(cursor: Cursor, keys: Iterable[str], now: datetime) -> list[str]:
    """Resolve the open alerts of these keys; returns their ids."""
    cursor.execute(f"{_RESOLVE} WHERE key = ANY (%(keys)s) AND state <> 'resolved' RETURNING alert_id", {"keys": list(keys), "now": now})
    return [name for (name,) in cursor.fetchall()]


def count_firing(cursor: Cursor) -> int:
    """The number of firing alerts: `active_alerts`. An acknowledged alert does not count."""
    cursor.execute("SELECT count(*) FROM alerts WHERE state = 'firing'")
    return int(scalar(cursor))


def unpublished_alerts(cursor: Cursor, limit: int = 1000) -> list[tuple[int, Alert]]:
    """(id, alert) of at most `limit` unpublished alerts of figures, the oldest first."""
    cursor.execute(
        "SELECT id, type, symbol, symbol2, severity, time, value, previous, threshold, message FROM alerts"
        " WHERE published IS NULL AND type IN %s ORDER BY id LIMIT %s",
        (FIGURE_TYPES, limit),
    )
    return [(row[0], Alert(*row[1:])) for row in cursor.fetchall()]


def mark_published(cursor: Cursor, alert_id: int, now: datetime) -> None:
    """Mark an alert as published."""
    cursor.execute("UPDATE alerts SET published = %s WHERE id = %s AND published IS NULL", (now, alert_id))


def read_episodes(cursor: Cursor, kind: str) -> dict[Subject, EpisodeRow]:
    """subject -> state of its rule, for one type of alert."""
    cursor.execute("SELECT symbol, symbol2, severity, alerted, told, as_of FROM alert_episodes WHERE type = %s", (kind,))
    return {(row[0], row[1]): EpisodeRow(*row[2:]) for row in cursor.fetchall()}


def write_episodes(cursor: Cursor, kind: str, episodes: Mapping[Subject, EpisodeRow]) -> None:
    """Insert or replace the state of these rules."""
    for (symbol, symbol2), row in sorted(episodes.items()):
        cursor.execute(
            "INSERT INTO alert_episodes (type, symbol, symbol2, severity, alerted, told, as_of) VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (type, symbol, symbol2) DO UPDATE SET"
            " severity = excluded.severity, alerted = excluded.alerted, told = excluded.told, as_of = excluded.as_of",
            (kind, symbol, symbol2, row.severity, row.alerted, row.told, row.as_of),
        )
