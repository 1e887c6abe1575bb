"""SQL of `market_sessions`. `db/calendars.py` has the hours at which instruments trade."""

from __future__ import annotations

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
