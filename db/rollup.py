"""SQL of the roll-up (store layer): marked minutes become candles of all intervals.

A mark means that a price, a trade, or a candle from a feed was stored in a minute. Every candle
that contains a marked minute is rebuilt completely: the minute from the rows, five minutes from the
minutes, and so on. Rows may therefore arrive in any order, repeatedly and late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from db.candles import Update, upsert_returning_newest
from db.copy import temporary
from db.intervals import INTERVALS
from db.partitions import make_months
from db.postgres import Cursor, one, scalar
from db.prices import sources_without_candles
from db.timestamps import format_time

_LONGEST = timedelta(hours=26)  # above every candle: the FX day of a clock change has 25 hours

_ROLLED = temporary("rolled_minutes")
_MINUTES = f"CREATE TEMP TABLE {_ROLLED} (symbol text, calendar text, sided boolean, minute timestamptz) ON COMMIT DROP"
_TAKE = f"""
WITH taken AS (
    DELETE FROM candle_marks WHERE ctid = ANY (ARRAY(SELECT ctid FROM candle_marks ORDER BY minute DESC, symbol DESC LIMIT %s))
    RETURNING symbol, minute)
INSERT INTO {_ROLLED}
SELECT DISTINCT t.symbol, coalesce(i.calendar, ''), coalesce(i.kind IN ('fx', 'metal'), false), t.minute
FROM taken t LEFT JOIN instruments i USING (symbol)
"""  # noqa: S608
_MONTHS = f"""
SELECT DISTINCT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM')
FROM {_ROLLED}, LATERAL (VALUES (minute), (candle_start(calendar, '1d', minute))) AS moments (moment)
"""  # noqa: S608

# Candles of `sided` instruments, fx and metals, have bid and ask.
# Consecutive marked minutes are read as one range, in the order of the key. Open and close are
# looked up by the same key, at half the cost of sorting aggregates. `date_bin` is faster than
# `date_trunc`. `first` and `last` are literals, so that the planner reads the months needed only.
_RUNS = f"""
    SELECT symbol, sided, min(minute) AS first, max(minute) + interval '1 minute' AS last FROM (
        SELECT *, minute - row_number() OVER (PARTITION BY symbol ORDER BY minute) * interval '1 minute' AS run
        FROM {_ROLLED} {{where}}) AS numbered
    GROUP BY symbol, sided, run
"""  # noqa: S608
_MINUTE = "time >= %(first)s AND time < %(last)s AND time >= minutes.minute AND time < minutes.minute + interval '1 minute'"

_FROM_TRADES = f"""
SELECT symbol, '1m', minute, minute + interval '1 minute', opens.price, high, low, closes.price,
    NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric,
    volume, trades, minute + interval '1 minute' <= %(ended)s, 'trades', false
FROM ({_RUNS.format(where="")}) AS runs, LATERAL (
    SELECT date_bin('1 minute', time, '2000-01-01Z') AS minute, max(price) AS high, min(price) AS low,
        sum(quantity) AS volume, count(*) AS trades
    FROM raw_trades t
    WHERE t.symbol = runs.symbol AND time >= runs.first AND time < runs.last AND time >= %(first)s AND time < %(last)s
    GROUP BY 1) AS minutes, LATERAL (
    SELECT price FROM raw_trades t WHERE t.symbol = runs.symbol AND {_MINUTE} ORDER BY time, trade_id LIMIT 1) AS opens, LATERAL (
    SELECT price FROM raw_trades t WHERE t.symbol = runs.symbol AND {_MINUTE} ORDER BY time DESC, trade_id DESC LIMIT 1) AS closes
ORDER BY symbol, minute
"""  # noqa: S608

# Candles of an exchange are made from its trades, if it sends them. Its quotes make no candles, and
# quotes of other sources make none in a minute that has trades. OFFSET forces a lookup per minute.
_NO_TRADES = f"""WHERE NOT EXISTS (
    SELECT FROM raw_trades t WHERE t.symbol = {_ROLLED}.symbol AND time >= %(first)s AND time < %(last)s
    AND time >= minute AND time < minute + interval '1 minute' OFFSET 0)"""
_MAKES_CANDLES = "source <> ALL (%(without_candles)s)"
_QUOTE = f"SELECT mid, bid, ask FROM prices p WHERE p.instrument = runs.symbol AND {_MINUTE} AND {_MAKES_CANDLES} ORDER BY"  # noqa: S608

_FROM_TICKS = f"""
SELECT symbol, '1m', minute, minute + interval '1 minute', opens.mid, high, low, closes.mid,
    CASE WHEN sided THEN opens.bid END, CASE WHEN sided THEN bid_high END,
    CASE WHEN sided THEN bid_low END, CASE WHEN sided THEN closes.bid END,
    CASE WHEN sided THEN opens.ask END, CASE WHEN sided THEN ask_high END,
    CASE WHEN sided THEN ask_low END, CASE WHEN sided THEN closes.ask END,
    volume, quotes, minute + interval '1 minute' <= %(ended)s, 'ticks', false
FROM ({_RUNS.format(where=_NO_TRADES)}) AS runs, LATERAL (
    SELECT date_bin('1 minute', time, '2000-01-01Z') AS minute, max(mid) AS high, min(mid) AS low,
        max(bid) AS bid_high, min(bid) AS bid_low, max(ask) AS ask_high, min(ask) AS ask_low,
        coalesce(sum(volume), count(*)) AS volume, count(*) AS quotes
    FROM prices p
    WHERE p.instrument = runs.symbol AND time >= runs.first AND time < runs.last AND time >= %(first)s AND time < %(last)s
        AND {_MAKES_CANDLES}
    GROUP BY 1) AS minutes, LATERAL (
    {_QUOTE} time, epoch, seq LIMIT 1) AS opens, LATERAL (
    {_QUOTE} time DESC, epoch DESC, seq DESC LIMIT 1) AS closes
ORDER BY symbol, minute
"""  # noqa: S608

# Only retention deletes rows. A candle that was made of more rows than exist now stays unchanged.
_ROWS_ARE_GONE = "candle_rank(candles.source) = candle_rank(excluded.source) AND candles.trades > excluded.trades"


def _side(side: str) -> str:
    """SQL for the OHLC of one side; NULL unless all smaller candles have that side."""
    columns = (
        f"(array_agg({side}_open ORDER BY start_time))[1]", f"max({side}_high)", f"min({side}_low)",
        f"(array_agg({side}_close ORDER BY start_time))[count(*)]",
    )  # fmt: skip
    return ", ".join(f"CASE WHEN count({side}_open) = count(*) THEN {column} END" for column in columns)


_FROM_BELOW = f"""
SELECT marked.symbol, %(interval)s, marked.start, candle_end(calendar, %(interval)s, marked.start), candle.*
FROM (SELECT DISTINCT symbol, calendar, candle_start(calendar, %(interval)s, minute) AS start FROM {_ROLLED}) AS marked, LATERAL (
    SELECT (array_agg(open ORDER BY start_time))[1], max(high), min(low), (array_agg(close ORDER BY start_time))[count(*)],
        {_side("bid")}, {_side("ask")}, sum(volume), sum(trades), candle_end(calendar, %(interval)s, marked.start) <= %(ended)s,
        CASE WHEN min(source) = max(source) THEN min(source) WHEN bool_or(source = 'trades') THEN 'trades' ELSE 'ticks' END, true
    FROM candles c
    WHERE c.symbol = marked.symbol AND c.interval = %(below)s
        AND c.start_time >= marked.start AND c.start_time < candle_end(calendar, %(interval)s, marked.start)
        AND c.start_time >= %(earliest)s AND c.start_time < %(latest)s
    HAVING count(*) > 0) AS candle
ORDER BY marked.symbol, marked.start
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class RollupStep:
    """Result of one transaction: the number of marks it took, and the newest changed candles."""

    marks: int
    updates: list[Update]


def is_mine(cursor: Cursor) -> bool:
    """Lock the roll-up for this transaction; False if another transaction has the lock."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('tickwire roll-up'))")
    return bool(scalar(cursor))


def roll_up(cursor: Cursor, most: int, ended: datetime, trade_venues: Sequence[str]) -> RollupStep:
    """Take up to `most` marks, the newest first, and build the candles that contain their minutes.

    Candles that end by `ended` are complete. Prices of `trade_venues` make no candles. Missing
    monthly partitions are created. `is_mine` must have returned True in this transaction.
    """
    cursor.execute(_MINUTES)
    cursor.execute(_TAKE, (most,))
    cursor.execute(f"SELECT count(*), min(minute), max(minute) FROM {_ROLLED}")  # noqa: S608
    marks, first, last = one(cursor)
    if not marks:
        return RollupStep(0, [])
    cursor.execute(_MONTHS)
    make_months(cursor, "candles", [month for (month,) in cursor.fetchall()])
    parameters = {
        "first": format_time(first), "last": format_time(last + INTERVALS["1m"]),
        "earliest": format_time(first - _LONGEST), "latest": format_time(last + _LONGEST), "ended": format_time(ended),
        "without_candles": sources_without_candles(trade_venues),
    }  # fmt: skip
    updates = upsert_returning_newest(cursor, _FROM_TRADES, parameters, unless=_ROWS_ARE_GONE)
    updates += upsert_returning_newest(cursor, _FROM_TICKS, parameters, unless=_ROWS_ARE_GONE)
    for below, interval in pairwise(INTERVALS):
        updates += upsert_returning_newest(cursor, _FROM_BELOW, {**parameters, "below": below, "interval": interval})
    return RollupStep(marks, updates)
