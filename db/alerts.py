"""SQL of `alerts` and `alert_episodes` (store layer)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db.postgres import Cursor

Subject = tuple[str, str]  # an instrument and '', or a pair

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLVE = "UPDATE alerts SET state = 'resolved', resolved_at = %(now)s, updated_at = %(now)s"

FIRING, ACKNOWLEDGED, RESOLVED = STATES = ("firing", "acknowledged", "resolved")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert with its figures at `time`. `previous` and `symbol2` are for correlations only."""

    type: str  # volatility or correlation
    symbol: str
    symbol2: str | None
    severity: str
    time: datetime
    value: float
    previous: float | None
    threshold: float
    message: str

    @property
    def key(self) -> str:
        """TYPE:SUBJECT; at most one alert of a key and severity is open."""
        return alert_key(self.type, (self.symbol, self.symbol2 or ""))

    @property
    def alert_id(self) -> str:
        """TYPE:SUBJECT:SEVERITY:EPOCHMS, opaque to clients."""
        return alert_id(self.key, self.severity, self.time)


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
        cursor.execute(
            "INSERT INTO alerts (type, symbol, symbol2, severity, time, value, previous, threshold, message,"
            " subject, key, alert_id, state, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'firing', %s) ON CONFLICT DO NOTHING",
            (
                alert.type, alert.symbol, alert.symbol2, alert.severity, alert.time, alert.value, alert.previous, alert.threshold,
                alert.message, subject_text((alert.symbol, alert.symbol2 or "")), alert.key, alert.alert_id, alert.time,
            ),
        )  # fmt: skip
        new += cursor.rowcount
    return new


def resolve_alerts(cursor: Cursor, keys: Iterable[str], now: datetime) -> list[str]:
    """Resolve the open alerts of these keys; returns their ids."""
    cursor.execute(f"{_RESOLVE} WHERE key = ANY (%(keys)s) AND state <> 'resolved' RETURNING alert_id", {"keys": list(keys), "now": now})
    return [name for (name,) in cursor.fetchall()]


def unpublished_alerts(cursor: Cursor, limit: int = 1000) -> list[tuple[int, Alert]]:
    """(id, alert) of at most `limit` unpublished alerts, the oldest first."""
    cursor.execute(
        "SELECT id, type, symbol, symbol2, severity, time, value, previous, threshold, message FROM alerts"
        " WHERE published IS NULL ORDER BY id LIMIT %s",
        (limit,),
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
