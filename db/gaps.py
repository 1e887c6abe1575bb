"""SQL of `gaps` and `trade_watermarks` (store layer): missing rows, and the checked range.

Every trade up to a symbol's watermark is either stored or part of a hole with a row in `gaps`. The
transaction that moves the watermark past a hole inserts that row. Holes are always computed from
the stored trades, never from memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db.postgres import Cursor, scalar
from db.timestamps import parse_time

MAX_TRADES_PER_SCAN = 50_000  # so that one statement takes a fraction of a second
MAX_GAPS_PER_ANSWER = 1000
UNUSABLE = "the exchange's record cannot be used"  # reason, followed by the kind of the refusal

# Ids rise with time, except for trades of the same moment and after clock errors. Before a hole is
# confirmed, the store is searched this far before and after its times.
_SLACK = timedelta(minutes=1)
_MOMENT = timedelta(microseconds=1)  # ends are exclusive
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Hole:
    """Trades that are not stored, both ids included; `start` <= their times < `end`."""

    first_id: int
    last_id: int
    start: datetime
    end: datetime

    @property
    def missing(self) -> int:
        """Number of trades."""
        return self.last_id - self.first_id + 1


@dataclass(frozen=True, slots=True)
class Gap:
    """A row of `gaps` of kind `trades`."""

    id: int
    symbol: str
    hole: Hole
    detected: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Advance:
    """One move of a watermark: the number of holes found, and whether more trades may follow."""

    holes: int
    more: bool


@dataclass(frozen=True, slots=True)
class _Position:
    trade_id: int
    time: datetime


def advance_watermark(cursor: Cursor, source: str, symbol: str, now: datetime, *, rows: int = MAX_TRADES_PER_SCAN) -> Advance:
    """Move the symbol's watermark over up to `rows` stored trades; insert the holes as open gaps.

    The first stored trade starts the watermark. Trades before it are not expected.
    """
    if (mark := _watermark(cursor, symbol)) is None:
        return Advance(0, False)
    holes, last, seen = _scan(cursor, symbol, mark, mark, rows=rows)
    if last is None:
        return Advance(0, False)
    holes = _usable(cursor, symbol, holes)
    for hole in holes:
        _insert(cursor, source, symbol, hole, now, now, None)
    cursor.execute(
        "UPDATE trade_watermarks SET trade_id = %s, time = %s WHERE symbol = %s",
        (max(mark.trade_id, last.trade_id), last.time, symbol),
    )
    return Advance(len(holes), seen == rows)


def open_gaps(cursor: Cursor, source: str) -> list[Gap]:
    """At most `MAX_GAPS_PER_ANSWER` open gaps in trades.

    The shortest come first, so that they do not wait for a long one.
    """
    cursor.execute(
        "SELECT id, symbol, first_id, last_id, start_time, end_time, detected, reason FROM gaps"
        " WHERE source = %s AND kind = 'trades' AND state = 'open' ORDER BY missing, id LIMIT %s",
        (source, MAX_GAPS_PER_ANSWER),
    )
    return [
        Gap(number, symbol, Hole(first, last, start, end), detected, reason)
        for number, symbol, first, last, start, end, detected, reason in cursor.fetchall()
    ]


def narrow(cursor: Cursor, source: str, gap: Gap, now: datetime, *, rows: int = MAX_TRADES_PER_SCAN) -> list[Gap]:
    """Compare an open gap with the stored trades; returns the gaps that remain.

    The gap is marked as filled, stays unchanged, or is replaced by the holes that remain of it.
    """
    holes = _usable(cursor, gap.symbol, _holes_within(cursor, gap, rows))
    if holes == [gap.hole]:
        return [gap]
    if not holes:
        set_state(cursor, gap, "filled", None, now)
        return []
    cursor.execute("DELETE FROM gaps WHERE id = %s", (gap.id,))
    return [
        Gap(_insert(cursor, source, gap.symbol, hole, gap.detected, now, gap.reason), gap.symbol, hole, gap.detected, gap.reason)
        for hole in holes
    ]


def report_unusable(cursor: Cursor, source: str, symbol: str, trades: Iterable[tuple[int, str]], kind: str, now: datetime) -> int:
    """Make the ids of records that cannot be used unfillable gaps; returns their number.

    `trades` are (id, a time near it in contract form), `kind` is the kind of the refusal.
    """
    reason, number = f"{UNUSABLE}: {kind}", 0
    for trade_id, time in trades:
        cursor.execute(
            "UPDATE gaps SET state = 'unfillable', reason = %s, updated = %s"
            " WHERE symbol = %s AND kind = 'trades' AND first_id = %s AND last_id = first_id AND source = %s",
            (reason, now, symbol, trade_id, source),
        )
        if not cursor.rowcount:
            moment = parse_time(time)
            hole = Hole(trade_id, trade_id, moment, moment + _MOMENT)
            cursor.execute("UPDATE gaps SET state = 'unfillable' WHERE id = %s", (_insert(cursor, source, symbol, hole, now, now, reason),))
        number += 1
    return number


def set_state(cursor: Cursor, gap: Gap, state: str, reason: str | None, now: datetime) -> None:
    """Set the state of a gap (`open`, `filled` or `unfillable`) and its reason."""
    cursor.execute("UPDATE gaps SET state = %s, reason = %s, updated = %s WHERE id = %s", (state, reason, now, gap.id))


def explain_open(cursor: Cursor, source: str, reason: str, now: datetime) -> None:
    """Set the reason of every open gap in trades."""
    cursor.execute(
        "UPDATE gaps SET reason = %s, updated = %s WHERE source = %s AND kind = 'trades' AND state = 'open'", (reason, now, source)
    )


def reopen(cursor: Cursor, source: str, now: datetime) -> int:
    """Set unfillable gaps in trades to open again; returns their number."""
    cursor.execute(
        "UPDATE gaps SET state = 'open', updated = %s WHERE source = %s AND kind = 'trades' AND state = 'unfillable'"
        " AND coalesce(reason, '') NOT LIKE %s",
        (now, source, f"{UNUSABLE}%"),
    )
    return int(cursor.rowcount)


def report_candles(
    cursor: Cursor, source: str, symbol: str, interval: str, start: datetime, end: datetime, missing: int, reason: str, now: datetime
) -> None:
    """Insert a gap for the candles from `start` to `end`, which could not be fetched.

    One such row is open per symbol and interval: an earlier one is closed.
    """
    cursor.execute(
        "UPDATE gaps SET state = 'filled', reason = NULL, end_time = least(end_time, %s), updated = %s"
        " WHERE source = %s AND symbol = %s AND kind = 'candles' AND interval = %s AND state = 'open' AND start_time < %s",
        (start, now, source, symbol, interval, start),
    )
    cursor.execute(
        "INSERT INTO gaps (source, symbol, kind, interval, start_time, end_time, missing, state, reason, detected, updated)"
        " VALUES (%s, %s, 'candles', %s, %s, %s, %s, 'open', %s, %s, %s)"
        " ON CONFLICT (source, symbol, kind, interval, first_id, start_time) DO UPDATE SET end_time = excluded.end_time,"
        " missing = excluded.missing, state = excluded.state, reason = excluded.reason, updated = excluded.updated",
        (source, symbol, interval, start, end, missing, reason, now, now),
    )


def close_candles(cursor: Cursor, source: str, symbol: str, interval: str, now: datetime) -> None:
    """Mark the reported gap in candles as filled."""
    cursor.execute(
        "UPDATE gaps SET state = 'filled', reason = NULL, updated = %s"
        " WHERE source = %s AND symbol = %s AND kind = 'candles' AND interval = %s AND state = 'open'",
        (now, source, symbol, interval),
    )


def _usable(cursor: Cursor, symbol: str, holes: Iterable[Hole]) -> list[Hole]:
    """The holes without the ids of records that cannot be used."""
    parts: list[Hole] = []
    for hole in holes:
        cursor.execute(
            "SELECT first_id FROM gaps WHERE symbol = %s AND kind = 'trades' AND state = 'unfillable' AND reason LIKE %s"
            " AND first_id BETWEEN %s AND %s ORDER BY first_id",
            (symbol, f"{UNUSABLE}%", hole.first_id, hole.last_id),
        )
        following = hole.first_id
        for (unusable,) in cursor.fetchall():
            parts.append(Hole(following, unusable - 1, hole.start, hole.end))
            following = unusable + 1
        parts.append(Hole(following, hole.last_id, hole.start, hole.end))
    return [part for part in parts if part.missing > 0]


def _watermark(cursor: Cursor, symbol: str) -> _Position | None:
    """The symbol's watermark, locked; created at its first stored trade, None if there is none."""
    cursor.execute("SELECT trade_id, time FROM trade_watermarks WHERE symbol = %s FOR UPDATE", (symbol,))
    if (row := cursor.fetchone()) is None:
        cursor.execute(
            "INSERT INTO trade_watermarks (symbol, trade_id, time) SELECT symbol, trade_id, time FROM raw_trades WHERE symbol = %s"
            " ORDER BY time, trade_id LIMIT 1 RETURNING trade_id, time",
            (symbol,),
        )
        row = cursor.fetchone()
    return None if row is None else _Position(*row)


def _holes_within(cursor: Cursor, gap: Gap, rows: int) -> list[Hole]:
    """The holes of a gap that are not stored yet."""
    hole = gap.hole
    place, known = _Position(0, hole.start - _SLACK), _Position(hole.first_id - 1, hole.start)
    holes: list[Hole] = []
    while True:
        found, last, seen = _scan(cursor, gap.symbol, place, known, rows=rows, until=hole.end + _SLACK, last_id=hole.last_id)
        holes += found
        if last is not None:
            place = last
            known = last if last.trade_id > known.trade_id else known
        if seen < rows:
            break
    if known.trade_id < hole.last_id:
        holes.append(Hole(known.trade_id + 1, hole.last_id, min(known.time, hole.end - _MOMENT), hole.end))
    return holes


# `found` is a range of trades in the order of the key. A hole lies between two neighbours by id.
# The last row has the count, the highest id and the latest time of the range.
_SCAN_SQL = """
WITH found AS MATERIALIZED (
    SELECT trade_id, time FROM raw_trades
    WHERE symbol = %(symbol)s AND time >= %(time)s AND (time, trade_id) > (%(time)s, %(id)s)
        AND time < %(until)s AND trade_id <= %(last_id)s
    ORDER BY time, trade_id LIMIT %(rows)s
), pairs AS (
    SELECT greatest(lag(trade_id) OVER ids, %(known)s) AS before, lag(time) OVER ids AS since, trade_id, time
    FROM found WINDOW ids AS (ORDER BY trade_id)
)
SELECT 0, before + 1, trade_id - 1, coalesce(since, %(known_time)s), time FROM pairs WHERE trade_id > before + 1
UNION ALL SELECT 1, count(*), max(trade_id), NULL, max(time) FROM found
ORDER BY 1, 2
"""


def _scan(
    cursor: Cursor, symbol: str, place: _Position, known: _Position, *, rows: int, until: datetime = _NEVER, last_id: int = _LARGEST_ID
) -> tuple[list[Hole], _Position | None, int]:
    """Scan up to `rows` trades after `place`.

    Returns the holes since `known`, the position of the last trade (None without trades), and the
    number of trades.
    """
    cursor.execute(
        _SCAN_SQL,
        {
            "symbol": symbol, "time": place.time, "id": place.trade_id, "known": known.trade_id, "known_time": known.time,
            "until": until, "last_id": last_id, "rows": rows,
        },
    )  # fmt: skip
    *pairs, (_, seen, newest, _, time) = cursor.fetchall()
    holes = [Hole(first, last, min(since, moment), max(since, moment) + _MOMENT) for _, first, last, since, moment in pairs]
    return holes, _Position(newest, time) if seen else None, seen


def _insert(cursor: Cursor, source: str, symbol: str, hole: Hole, detected: datetime, now: datetime, reason: str | None) -> int:
    cursor.execute(
        "INSERT INTO gaps (source, symbol, kind, first_id, last_id, start_time, end_time, missing, state, reason, detected, updated)"
        " VALUES (%s, %s, 'trades', %s, %s, %s, %s, %s, 'open', %s, %s, %s)"
        " ON CONFLICT (source, symbol, kind, interval, first_id, start_time) DO UPDATE SET last_id = excluded.last_id,"
        " end_time = excluded.end_time, missing = excluded.missing, state = excluded.state, updated = excluded.updated RETURNING id",
        (source, symbol, hole.first_id, hole.last_id, hole.start, hole.end, hole.missing, reason, detected, now),
    )
    return int(scalar(cursor))
