"""SQL of `alerts` and `alert_episodes` (store layer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor

Subject = tuple[str, str]  # an instrument and '', or a pair


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


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """The state of one subject's alert rule, evaluated up to `as_of`."""

    severity: str | None
    alerted: datetime | None
    told: str | None
    as_of: datetime


def write_alerts(cursor: Cursor, alerts: Sequence[Alert]) -> int:
    """Insert the alerts that are not stored yet; returns their number."""
    new = 0
    for alert in alerts:
        cursor.execute(
            "INSERT INTO alerts (type, symbol, symbol2, severity, time, value, previous, threshold, message)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                alert.type, alert.symbol, alert.symbol2, alert.severity, alert.time, alert.value, alert.previous, alert.threshold,
                alert.message,
            ),
        )  # fmt: skip
        new += cursor.rowcount
    return new


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
