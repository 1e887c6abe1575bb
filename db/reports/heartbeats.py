"""SQL of `bot_heartbeats` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from db.postgres import Cursor
from db.rows import insert_rows, select_rows


@dataclass(frozen=True, slots=True)
class HeartbeatRow:
    """One heartbeat of a strategy, with its equity if the bot reports it."""

    bot: str
    id: str
    time: datetime
    strategy: str
    equity: Decimal | None = None
    cash: Decimal | None = None


def insert_heartbeats(cursor: Cursor, rows: Sequence[HeartbeatRow]) -> int:
    """Insert the heartbeats that are not stored yet; returns their number."""
    return insert_rows(cursor, "bot_heartbeats", rows)


def daily_equity(cursor: Cursor, bot: str, strategy: str, zone: ZoneInfo) -> list[HeartbeatRow]:
    """The last heartbeat with equity of each day of the zone, in the order of time."""
    rest = (
        "WHERE (bot, id, time) IN (SELECT DISTINCT ON ((time AT TIME ZONE %(zone)s)::date) bot, id, time FROM bot_heartbeats"
        " WHERE bot = %(bot)s AND strategy = %(strategy)s AND equity IS NOT NULL"
        " ORDER BY (time AT TIME ZONE %(zone)s)::date, time DESC, id DESC) ORDER BY time"
    )
    return select_rows(cursor, HeartbeatRow, "bot_heartbeats", rest, {"bot": bot, "strategy": strategy, "zone": zone.key})
