"""SQL of `market_sessions`, and the opening hours that follow from its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from db.postgres import Cursor


@dataclass(frozen=True, slots=True)
class MarketSession:
    """A market's trading hours, on the wall clock of `zone`; `weekdays` are ISO (1 is Monday)."""

    name: str
    zone: str
    opens: time
    closes: time
    weekdays: tuple[int, ...]

    def is_open(self, moment: datetime) -> bool:
        """Whether the session is open at `moment` (aware). The closing time itself is closed.

        Holidays are ignored.
        """
        local = moment.astimezone(ZoneInfo(self.zone))
        return local.isoweekday() in self.weekdays and self.opens <= local.time() < self.closes


def all_sessions(cursor: Cursor) -> list[MarketSession]:
    """Every session, in the order of their openings within a trading day."""
    cursor.execute(
        "SELECT name, zone, opens, closes, weekdays FROM market_sessions "
        "ORDER BY (now()::date + opens) AT TIME ZONE zone - now()::date::timestamp AT TIME ZONE 'UTC'"
    )
    return [MarketSession(name, zone, opens, closes, tuple(weekdays)) for name, zone, opens, closes, weekdays in cursor.fetchall()]


def market_open(kind: str, sessions: Iterable[MarketSession], moment: datetime) -> bool:
    """Whether instruments of this kind trade at `moment`.

    Crypto trades always, FX while any session is open, equities during the session of New York.
    """
    if kind == "crypto":
        return True
    return any(session.is_open(moment) for session in sessions if kind == "fx" or session.name == "New York")
