"""SQL of `prices`.

Instrument, time, bid, ask, mid (as numbers) and occurrence identify a price. The first row that is
stored stays, with its digits and its source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from db.candles import latest_closes, rebuild_candles
from db.copy import copy_line, empty_staging, escaped, insert_staged, stage_rows, time_text_sql
from db.inserted import Conflict, Inserted, Origin
from db.partitions import make_months
from db.postgres import Cursor, scalar
from db.time_window import JOIN_WINDOWS, TimeWindow, window_arguments, within_window

CLOSING = "hourly_job"  # source of the closing prices of candles
CLOSING_OCCURRENCE = 0  # theirs, so that none takes the place of a tick

_COLUMNS = "instrument, time, received, bid, ask, mid, volume, source, epoch, seq, occurrence"
_CONTENT = "instrument, time, bid, ask, mid, occurrence"  # the identity
_SAME = "(p.instrument, p.time, p.bid, p.ask, p.mid, p.occurrence) = (s.instrument, s.time, s.bid, s.ask, s.mid, s.occurrence)"
# Rows that came from files or replays; `file:` is of older versions.
_RECORDED = "(source LIKE 'import:%%' OR source LIKE 'file:%%' OR source LIKE 'replay%%')"


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row as text: times in contract form, decimals with the digits of the source.

    `occurrence` numbers equal quotes of one time: 1, 2, …; closing prices have 0.
    """

    instrument: str
    time: str
    received: str
    bid: str
    ask: str
    mid: str
    volume: str | None
    source: str
    epoch: str
    seq: int
    occurrence: int = 1


def sources_without_candles(trade_venues: Sequence[str]) -> list[str]:
    """Sources whose prices make no candles: venues with candles of trades, and closing prices."""
    return [*trade_venues, CLOSING]


def insert_prices(
    cursor: Cursor,
    rows: Sequence[PriceRow],
    trade_venues: Sequence[str] = (),
    *,
    origin: Origin = "live",
    epochs: Collection[str] = (),
) -> Inserted:
    """Insert the rows that are not stored yet and mark their minutes.

    Prices of `trade_venues` mark no minute, because candles are made from the trades of these
    venues. `epochs` are the present ones of the bus: if a stored row comes again with one of them,
    the stored row takes over epoch and seq. With the origin `file`, `rows` must have all quotes of
    the file at each time; a time is a conflict if the store lacks one of these, and these lack a
    recorded quote in the store. Missing monthly partitions are created.
    """
    make_months(cursor, "prices", {row.time[:7] for row in rows})
    staging = stage_rows(cursor, "prices", _COLUMNS, map(_line, rows))
    conflicts = _take_conflicts(cursor, staging) if origin == "file" else ()
    inserted = insert_staged(cursor, "prices", _COLUMNS)
    if epochs and inserted < len(rows):
        _take_over_positions(cursor, staging, epochs)
    if inserted:
        cursor.execute(
            f"INSERT INTO candle_marks SELECT DISTINCT instrument, date_trunc('minute', time) FROM {staging} WHERE source <> ALL (%s)",  # noqa: S608
            (sources_without_candles(trade_venues),),
        )
    empty_staging(cursor, "prices")
    return Inserted.of(len(rows), inserted, conflicts)


def delete_recorded(cursor: Cursor, instrument: str, start: str, end: str) -> int:
    """Delete the instrument's prices from files and replays, `start` <= time <= `end`.

    Their candles are rebuilt. Returns the number of deleted prices. For `--replace`: the caller
    inserts the prices of the file in the same transaction, one instrument and month at a time.
    """
    cursor.execute(
        f"DELETE FROM prices WHERE instrument = %(instrument)s AND time >= %(start)s AND time <= %(end)s AND {_RECORDED}"  # noqa: S608
        f" RETURNING {time_text_sql('time')}",
        {"instrument": instrument, "start": start, "end": end},
    )
    times = [time for (time,) in cursor.fetchall()]
    rebuild_candles(cursor, instrument, sorted({f"{time[:16]}Z" for time in times}))
    return len(times)


def latest_mids(cursor: Cursor, windows: Mapping[str, TimeWindow] | None = None) -> dict[str, str]:
    """instrument -> mid of its last stored price, by source time.

    Rows outside the instrument's window are ignored.
    """
    cursor.execute(
        f"SELECT i.symbol, p.mid FROM instruments i {JOIN_WINDOWS}, LATERAL ("  # noqa: S608
        f"  SELECT mid FROM prices WHERE instrument = i.symbol AND {within_window('time')}"
        "  ORDER BY time DESC, epoch DESC, seq DESC LIMIT 1) p",
        window_arguments(windows),
    )
    return dict(cursor.fetchall())


def latest_prices(cursor: Cursor, windows: Mapping[str, TimeWindow] | None = None) -> dict[str, str]:
    """instrument -> mid of its last stored price; without one, the close of its last candle."""
    return {**latest_closes(cursor, windows), **latest_mids(cursor, windows)}


def latest_times(cursor: Cursor, windows: Mapping[str, TimeWindow] | None = None) -> dict[str, str]:
    """instrument -> time of its last stored price, in contract form.

    An instrument is left out if its last price comes from another source than its own. Closing
    prices, and rows outside the instrument's window, are ignored.
    """
    cursor.execute(
        f"SELECT i.symbol, {time_text_sql('p.time')} FROM instruments i {JOIN_WINDOWS}, LATERAL ("  # noqa: S608
        f"  SELECT time, source FROM prices WHERE instrument = i.symbol AND source <> %(closing)s AND {within_window('time')}"
        "  ORDER BY time DESC LIMIT 1) p WHERE p.source = i.source",
        {"closing": CLOSING, **window_arguments(windows)},
    )
    return dict(cursor.fetchall())


def latest_positions(cursor: Cursor, windows: Mapping[str, TimeWindow] | None = None) -> dict[str, tuple[str, int]]:
    """instrument -> epoch and seq of its last stored price, by source time.

    Rows outside the instrument's window are ignored.
    """
    cursor.execute(
        f"SELECT i.symbol, p.epoch, p.seq FROM instruments i {JOIN_WINDOWS}, LATERAL ("  # noqa: S608
        f"  SELECT epoch, seq FROM prices WHERE instrument = i.symbol AND {within_window('time')}"
        "  ORDER BY time DESC, epoch DESC, seq DESC LIMIT 1) p",
        window_arguments(windows),
    )
    return {symbol: (epoch, seq) for symbol, epoch, seq in cursor.fetchall()}


def table_exists(cursor: Cursor) -> bool:
    """Whether the migrations have created the table."""
    cursor.execute("SELECT to_regclass('prices') IS NOT NULL")
    return bool(scalar(cursor))


def _take_conflicts(cursor: Cursor, staging: str) -> tuple[Conflict, ...]:
    """Remove the staged rows of conflicting times; return one conflict per row not stored.

    At such a time the file has a quote that is not stored, and lacks one that another file has. A
    quote that a live source has stored is stored.
    """
    cursor.execute(
        "WITH stored AS MATERIALIZED ("  # noqa: S608
        f"  SELECT p.* FROM (SELECT instrument, min(time) AS low, max(time) AS high FROM {staging} GROUP BY 1) span, LATERAL ("
        f"    SELECT {_CONTENT}, {_RECORDED} AS recorded FROM prices"
        "     WHERE instrument = span.instrument AND time >= span.low AND time <= span.high OFFSET 0) p"
        f"   JOIN (SELECT DISTINCT instrument, time FROM {staging}) times USING (instrument, time)),"
        f" new AS MATERIALIZED (SELECT {_CONTENT} FROM {staging} EXCEPT SELECT {_CONTENT} FROM stored),"
        f" gone AS (SELECT {_CONTENT} FROM stored WHERE recorded EXCEPT SELECT {_CONTENT} FROM {staging}),"
        " conflicts AS MATERIALIZED (SELECT instrument, time FROM new INTERSECT SELECT instrument, time FROM gone),"
        f" taken AS (DELETE FROM {staging} s USING conflicts c WHERE s.instrument = c.instrument AND s.time = c.time)"
        f" SELECT instrument || ' ' || {time_text_sql('time')}, (SELECT string_agg(p.bid || '/' || p.ask, ' ' ORDER BY p.bid, p.ask)"
        "   FROM stored p WHERE recorded AND p.instrument = new.instrument AND p.time = new.time), bid || '/' || ask"
        " FROM new JOIN conflicts USING (instrument, time) ORDER BY time, instrument, occurrence",
        {},
    )
    return tuple(Conflict(*row) for row in cursor.fetchall())


def _take_over_positions(cursor: Cursor, staging: str, epochs: Collection[str]) -> None:
    """Give stored rows the epoch and seq under which the bus has published them again."""
    cursor.execute(
        "UPDATE prices p SET epoch = s.epoch, seq = s.seq FROM ("  # noqa: S608
        f"  SELECT {_CONTENT}, epoch, max(seq) AS seq FROM {staging} WHERE epoch = ANY(%(epochs)s) GROUP BY {_CONTENT}, epoch) s"
        f" WHERE {_SAME} AND p.time >= %(first)s AND p.time <= %(last)s AND (p.epoch <> s.epoch OR p.seq < s.seq)",
        {"epochs": list(epochs), **_span(cursor, staging)},
    )


def _span(cursor: Cursor, staging: str) -> dict[str, str]:
    """First and last staged time, so that a statement reads the months needed only."""
    cursor.execute(f"SELECT {time_text_sql('min(time)')}, {time_text_sql('max(time)')} FROM {staging}")  # noqa: S608
    ((first, last),) = cursor.fetchall()
    return {"first": first, "last": last}


def _line(row: PriceRow) -> str:
    return copy_line(
        row.instrument, row.time, row.received, row.bid, row.ask, row.mid, row.volume, escaped(row.source), row.epoch, row.seq,
        row.occurrence,
    )  # fmt: skip
