"""SQL of the precedence between candles of one identity, and of their conflicts."""

from __future__ import annotations

from db.copy import time_text_sql
from db.inserted import Conflict
from db.postgres import Cursor

COLUMNS = (
    "symbol", "interval", "start_time", "end_time", "open", "high", "low", "close",
    "bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close",
    "volume", "trades", "complete", "source", "rolled_up",
)  # fmt: skip
NAMES = ", ".join(COLUMNS)
# SQL conditions: the candle came from a file; from a feed or a file; or we have made it.
IMPORTED = "(candle_rank({0}source) = candle_rank('import:') AND NOT {0}rolled_up)"
GIVEN = "(candle_rank({0}source) >= candle_rank('import:') AND NOT {0}rolled_up)"
OURS = "(candle_rank({0}source) < candle_rank('import:') OR {0}rolled_up)"


def precedence(candle: str, *, replace: bool = False) -> tuple[str, ...]:
    """SQL of the values by which candles of one identity are compared; the greater one wins.

    Our own roll-ups always show the rows that are stored now: for them neither the number nor the
    source counts. They lose against every candle of a file or a feed.
    """
    number = f"CASE WHEN {GIVEN.format(candle)} THEN coalesce({candle}trades, -1) END"
    rank = f"CASE WHEN {candle}rolled_up THEN candle_rank('trades') ELSE candle_rank({candle}source) END"
    values = f"{candle}complete", rank
    return values if replace else (*values, f"coalesce({number}, 0)")


def upsert(query: str, *, replace: bool = False) -> str:
    """SQL that inserts the candles of `query`, which selects `COLUMNS`, or replaces weaker ones."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[3:])
    old = ", ".join(f"candles.{name}" for name in COLUMNS[3:])
    new = ", ".join(f"excluded.{name}" for name in COLUMNS[3:])
    newcomer, stored = (", ".join(precedence(each, replace=replace)) for each in ("excluded.", "candles."))
    tie = "" if replace else f" AND ({IMPORTED.format('excluded.')} AND ({newcomer}) = ({stored})) IS NOT TRUE"
    return (
        f"INSERT INTO candles ({NAMES}) {query} ON CONFLICT (symbol, interval, start_time) DO UPDATE SET {changed}, updated = now() "
        f"WHERE ({newcomer}) >= ({stored}) AND ({old}) IS DISTINCT FROM ({new}){tie}"
    )


def conflicts(cursor: Cursor, staging: str) -> tuple[Conflict, ...]:
    """The staged candles that lost to an older candle of their rank with other prices.

    The volume counts too if both are of one file's source. Our own candles have no conflicts.
    """
    differs = " OR ".join(f"(c.{name} <> s.{name})" for name in COLUMNS[4:16])
    differs += f" OR ({IMPORTED.format('s.')} AND c.source = s.source AND c.volume <> s.volume)"
    same = " AND ".join(f"n.{name} IS NOT DISTINCT FROM c.{name}" for name in COLUMNS[4:])
    cursor.execute(
        f"SELECT s.symbol || ' ' || s.interval || ' candle of ' || {time_text_sql('s.start_time')},"  # noqa: S608
        "  concat_ws(' ', c.open, c.high, c.low, c.close), concat_ws(' ', s.open, s.high, s.low, s.close)"
        f" FROM {staging} s JOIN candles c USING (symbol, interval, start_time)"
        f" WHERE s.complete AND {GIVEN.format('s.')} AND {GIVEN.format('c.')} AND candle_rank(s.source) = candle_rank(c.source)"
        f" AND ({differs}) AND NOT EXISTS (SELECT FROM {staging} n"
        f"   WHERE (n.symbol, n.interval, n.start_time) = (s.symbol, s.interval, s.start_time) AND n.ctid > s.ctid AND {same})"
        " ORDER BY s.start_time, s.symbol, s.interval, s.ctid"
    )
    return tuple(Conflict(*row) for row in cursor.fetchall())
