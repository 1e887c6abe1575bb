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


def last_equities(cursor: Cursor, bot: str, strategy: str, starts: Sequence[datetime]) -> dict[datetime, Decimal]:
    """The last equity of each span between two of these ascending times: start of the span -> it.

    A span without an equity is left out.
    """
    cursor.execute(
        "SELECT d.start, h.equity FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) WITH ORDINALITY"
        " AS d (start, stop, number), LATERAL ("
        "  SELECT equity FROM bot_heartbeats WHERE bot = %(bot)s AND strategy = %(strategy)s AND time >= d.start AND time < d.stop"
        "   AND equity IS NOT NULL ORDER BY time DESC, id DESC LIMIT 1) h ORDER BY d.number",
        {"starts": list(starts[:-1]), "ends": list(starts[1:]), "bot": bot, "strategy": strategy},
    )
    return {start: Decimal(equity) for start, equity in cursor.fetchall()}


def last_equity(cursor: Cursor, bot: str, strategy: str) -> tuple[datetime, Decimal] | None:
    """Time and value of the last reported equity; None if there is none."""
    cursor.execute(
        "SELECT time, equity FROM bot_heartbeats WHERE bot = %s AND strategy = %s AND equity IS NOT NULL"
        " ORDER BY time DESC, id DESC LIMIT 1",
        (bot, strategy),
    )
    row = cursor.fetchone()
    return None if row is None else (row[0], Decimal(row[1]))


def strategies_with_equity(cursor: Cursor, since: datetime) -> list[tuple[str, str]]:
    """(bot, strategy) of the heartbeats with equity from `since` on."""
    cursor.execute("SELECT DISTINCT bot, strategy FROM bot_heartbeats WHERE time >= %s AND equity IS NOT NULL ORDER BY 1, 2", (since,))
    return [(bot, strategy) for bot, strategy in cursor.fetchall()]


def last_received(cursor: Cursor, since: datetime, now: datetime) -> dict[tuple[str, str], datetime]:
    """(bot, strategy) -> time of its last report of any kind, of those since then.

    The time of an order and of a heartbeat is that of the bot's clock; it is at most `now`.
    """
    cursor.execute(
        "SELECT bot, strategy, least(max(at), %(now)s) FROM ("
        " SELECT bot, strategy, received AS at FROM fills WHERE time >= %(since)s"
        " UNION ALL SELECT bot, strategy, received FROM signals WHERE time >= %(since)s"
        " UNION ALL SELECT bot, strategy, time FROM bot_heartbeats WHERE time >= %(since)s"
        " UNION ALL SELECT bot, strategy, time FROM orders WHERE time >= %(since)s) reports GROUP BY 1, 2",
        {"since": since, "now": now},
    )
    return {(bot, strategy): at for bot, strategy, at in cursor.fetchall()}
