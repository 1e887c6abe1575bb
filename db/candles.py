"""SQL of `candles` (store layer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.candle_precedence import IMPORTED, NAMES, OURS, conflicts, precedence, upsert
from db.copy import copy_line, empty_staging, escaped, stage_rows, time_text_sql
from db.inserted import Inserted
from db.intervals import INTERVALS
from db.partitions import make_months
from db.postgres import Cursor, scalar
from db.time_window import JOIN_WINDOWS, TimeWindow, window_arguments, within_window

Ohlc = tuple[str, str, str, str]
NO_OHLC = (None, None, None, None)
# Instrument, interval, and the candle as published on `candle_updates`.
Update = tuple[str, str, dict[str, Any]]

# Updates per instrument and interval at a time: the forming candle and the one that just ended.
NEWEST = 2
_UPDATE_COLUMNS = ("start_time", "end_time", "open", "high", "low", "close", "volume", "trades", "complete")


@dataclass(frozen=True, slots=True)
class CandleRow:
    """One candle as text: times in contract form, prices with the digits of the source.

    `mid`, `bid` and `ask` are open, high, low, close. `volume` is the traded volume, or the number
    of quotes if the source has quotes only. `trades` is the number of trades or quotes, None if
    unknown.
    """

    symbol: str
    interval: str
    start_time: str
    end_time: str
    mid: Ohlc
    bid: Ohlc | None
    ask: Ohlc | None
    volume: str
    trades: int | None
    complete: bool
    source: str


def insert_candles(cursor: Cursor, rows: Sequence[CandleRow], *, replace: bool = False) -> Inserted:
    """Insert or replace candles, and mark their minutes for larger intervals.

    Between two candles of one identity the winner is the one that is complete, then that of the
    higher rank, then, among candles of feeds and files, that of more quotes or trades (unknown
    counts as fewer), then the newer, of files the older; `rows` are in the order of their age. A
    candle of a feed or a file that loses to one of its rank, although it is newer and has other
    prices, is a conflict. With `replace`, the newer of two candles of one rank wins. Missing
    monthly partitions are created.
    """
    make_months(cursor, "candles", {row.start_time[:7] for row in rows})
    staging = stage_rows(cursor, "candles", NAMES, map(_line, rows))
    order = ", ".join(f"{each} DESC" for each in precedence("", replace=replace))
    oldest = "" if replace else f"CASE WHEN {IMPORTED.format('')} THEN ctid END, "
    newest = (
        f"SELECT DISTINCT ON (symbol, interval, start_time) {NAMES} FROM {staging}"  # noqa: S608
        f" ORDER BY symbol, interval, start_time, {order}, {oldest}ctid DESC"
    )
    cursor.execute(upsert(newest, replace=replace))
    written = int(cursor.rowcount)
    lost = conflicts(cursor, staging) if written < len(rows) else ()
    if written:
        cursor.execute(
            f"INSERT INTO candle_marks SELECT DISTINCT symbol, date_trunc('minute', start_time) FROM {staging} WHERE interval <> '1d'"  # noqa: S608
        )
    empty_staging(cursor, "candles")
    return Inserted.of(len(rows), written, lost)


def upsert_returning_newest(cursor: Cursor, query: str, parameters: Mapping[str, Any], *, unless: str = "false") -> list[Update]:
    """Insert or replace the candles that `query` selects; returns the newest of them, oldest first.

    `query` selects `COLUMNS`, each candle once, in the order of the key. A stored candle is
    replaced unless it takes precedence or nothing would change. It also stays unchanged if the SQL
    condition `unless` is true, which may compare `candles` (stored) with `excluded` (new). At most
    `NEWEST` candles per instrument and interval are returned, and as many of those that begin after
    the parameter `ended`.
    """
    cursor.execute(_newest(f"{upsert(query)} AND NOT ({unless}) RETURNING *"), parameters)
    return [_update(row) for row in cursor.fetchall()]


def complete_candles(cursor: Cursor, ended: str) -> list[Update]:
    """Mark as complete every candle of our own that ended at or before `ended`, in contract form.

    Returns the newest of them, as `upsert_returning_newest` does.
    """
    cursor.execute(
        _newest(
            "UPDATE candles SET complete = true, updated = now()"  # noqa: S608
            f" WHERE NOT complete AND end_time <= %(ended)s AND {OURS.format('')} RETURNING *"
        ),
        {"ended": ended},
    )
    return [_update(row) for row in cursor.fetchall()]


def reopen_candles(cursor: Cursor, ended: str) -> list[Update]:
    """Mark as forming every complete candle of our own that ends after `ended`, in contract form.

    They were completed while the clock was ahead. Returns the newest of them, as
    `upsert_returning_newest` does.
    """
    cursor.execute(
        _newest(
            "UPDATE candles c SET complete = false, updated = now()"  # noqa: S608
            " FROM instruments i, unnest(%(widths)s::text[]) AS width"
            " WHERE c.symbol = i.symbol AND c.interval = width AND c.start_time > %(ended)s::timestamptz - interval '2 days'"
            f" AND c.end_time > %(ended)s AND c.complete AND {OURS.format('c.')} RETURNING c.*"
        ),
        {"ended": ended, "widths": list(INTERVALS)},
    )
    return [_update(row) for row in cursor.fetchall()]


def rebuild_candles(cursor: Cursor, symbol: str, times: Sequence[str]) -> None:
    """Delete our own candles that contain one of these times, and mark the minutes of the times.

    For the deletion of rows: the roll-up never replaces a candle by one of fewer rows.
    """
    cursor.execute(
        "DELETE FROM candles c USING ("
        "  SELECT DISTINCT width, candle_start(calendar, width, moment) AS start"
        "  FROM instruments, unnest(%(times)s::timestamptz[]) AS moment, unnest(%(widths)s::text[]) AS width"
        "  WHERE symbol = %(symbol)s) AS made"
        " WHERE c.symbol = %(symbol)s AND c.interval = made.width AND c.start_time = made.start"
        " AND (candle_rank(c.source) IN (1, 2) OR c.rolled_up)",
        {"symbol": symbol, "times": list(times), "widths": list(INTERVALS)},
    )
    cursor.execute(
        "INSERT INTO candle_marks SELECT DISTINCT %s, date_trunc('minute', moment) FROM unnest(%s::timestamptz[]) AS moment",
        (symbol, list(times)),
    )


def delete_imported(cursor: Cursor, symbol: str, interval: str, start: str, end: str) -> int:
    """Delete the candles of files, `start` <= start time <= `end`, and the roll-ups of them.

    The roll-ups are built again. Returns the number of deleted candles of files. For `--replace`:
    the caller inserts the candles of the file in the same transaction.
    """
    cursor.execute(
        "WITH gone AS (DELETE FROM candles WHERE symbol = %(symbol)s AND interval = %(interval)s"  # noqa: S608
        f"  AND start_time >= %(start)s AND start_time <= %(end)s AND {IMPORTED.format('')} RETURNING start_time),"
        " rolled AS (DELETE FROM candles c USING ("
        "   SELECT DISTINCT width, candle_start(calendar, width, start_time) AS start"
        "   FROM gone, instruments, unnest(%(widths)s::text[]) AS width WHERE symbol = %(symbol)s) AS made"
        "  WHERE c.symbol = %(symbol)s AND c.interval = made.width AND c.start_time = made.start AND c.rolled_up),"
        " marked AS (INSERT INTO candle_marks SELECT %(symbol)s, start_time FROM gone)"
        " SELECT count(*) FROM gone",
        {"symbol": symbol, "interval": interval, "start": start, "end": end, "widths": list(INTERVALS)},
    )
    return int(scalar(cursor))


def latest_ends(cursor: Cursor, source: str, interval: str) -> dict[str, str]:
    """symbol -> end, in contract form, of its last complete candle from `source`.

    Roll-ups are ignored. Only instruments that `source` feeds are included.
    """
    cursor.execute(
        f"SELECT i.symbol, {time_text_sql('c.end_time')} FROM instruments i, LATERAL ("  # noqa: S608
        "  SELECT end_time FROM candles"
        "  WHERE symbol = i.symbol AND interval = %(interval)s AND source = %(source)s AND complete AND NOT rolled_up"
        "  ORDER BY start_time DESC LIMIT 1) c WHERE i.source = %(source)s",
        {"source": source, "interval": interval},
    )
    return dict(cursor.fetchall())


def latest_closes(cursor: Cursor, windows: Mapping[str, TimeWindow] | None = None) -> dict[str, str]:
    """symbol -> close of its last candle of any interval.

    Candles that begin outside the instrument's window are ignored.
    """
    cursor.execute(
        f"SELECT DISTINCT ON (i.symbol) i.symbol, c.close FROM instruments i {JOIN_WINDOWS}"  # noqa: S608
        " CROSS JOIN unnest(%(widths)s::text[]) AS width CROSS JOIN LATERAL ("
        f"  SELECT close, end_time FROM candles WHERE symbol = i.symbol AND interval = width AND {within_window('start_time')}"
        "  ORDER BY start_time DESC LIMIT 1) c "
        "ORDER BY i.symbol, c.end_time DESC",
        {"widths": list(INTERVALS), **window_arguments(windows)},
    )
    return dict(cursor.fetchall())


def nothing_stored(cursor: Cursor, symbols: Sequence[str]) -> bool:
    """Whether none of these symbols has a candle or a price.

    A lock is held until the transaction ends, so that concurrent callers wait.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire first rows'))")
    cursor.execute(
        "SELECT NOT EXISTS (SELECT FROM candles WHERE symbol = ANY (%(symbols)s))"
        " AND NOT EXISTS (SELECT FROM prices WHERE instrument = ANY (%(symbols)s))",
        {"symbols": list(symbols)},
    )
    return bool(scalar(cursor))


def candles_between(cursor: Cursor, interval: str, start: datetime, end: datetime) -> list[tuple[str, int, float, float, float, float]]:
    """(symbol, start in Unix seconds, open, high, low, close) of the candles from `start` to `end`.

    Prices are floats, for statistics only. Candles that end after `end` are left out.
    """
    cursor.execute(
        "SELECT symbol, extract(epoch FROM start_time)::bigint, open::float8, high::float8, low::float8, close::float8 FROM candles"
        " WHERE interval = %s AND start_time >= %s AND start_time < %s AND end_time <= %s ORDER BY symbol, start_time",
        (interval, start, end, end),
    )
    return list(cursor.fetchall())


def closing_quotes(cursor: Cursor, interval: str, end: datetime) -> list[tuple[str, str, str, str]]:
    """(symbol, bid, ask, mid) at the close of every candle that ended at `end`.

    Bid and ask are replaced by mid if they are unknown.
    """
    cursor.execute(
        "SELECT symbol, coalesce(bid_close, close), coalesce(ask_close, close), close FROM candles"
        " WHERE interval = %s AND start_time >= %s::timestamptz - interval '2 days' AND start_time < %s AND end_time = %s ORDER BY symbol",
        (interval, end, end, end),
    )
    return list(cursor.fetchall())


def marked_between(cursor: Cursor, start: datetime, end: datetime) -> bool:
    """Whether rows stored for `start` <= time < `end` are still missing from their candles."""
    cursor.execute("SELECT EXISTS (SELECT FROM candle_marks WHERE minute >= %s AND minute < %s)", (start, end))
    return bool(scalar(cursor))


def _newest(statement: str) -> str:
    """SQL that selects the newest of the candles that `statement` writes and returns.

    Those that begin after `ended` are selected apart, so that they displace no candle of the
    present.
    """
    columns = ", ".join(time_text_sql(name) if name.endswith("_time") else name for name in _UPDATE_COLUMNS)
    return (
        f"WITH written AS ({statement}), numbered AS ("  # noqa: S608
        "  SELECT *, row_number() OVER (PARTITION BY symbol, interval, start_time > %(ended)s ORDER BY start_time DESC) AS number"
        "  FROM written) "
        f"SELECT symbol, interval, {columns} FROM numbered WHERE number <= {NEWEST} ORDER BY start_time, symbol, interval"
    )


def _update(row: Sequence[Any]) -> Update:
    return row[0], row[1], dict(zip(_UPDATE_COLUMNS, row[2:], strict=True))


def _line(row: CandleRow) -> str:
    return copy_line(
        row.symbol, row.interval, row.start_time, row.end_time, *row.mid, *(row.bid or NO_OHLC), *(row.ask or NO_OHLC),
        row.volume, row.trades, row.complete, escaped(row.source), False,
    )  # fmt: skip
