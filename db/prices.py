"""SQL of `prices`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from psycopg2 import sql

from db.partitions import make_months

_COLUMNS = "instrument, time, received, bid, ask, mid, volume, source, epoch, seq"
_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row as text: times in contract form, decimals with the source's own digits."""

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


def insert_prices(cursor: Any, rows: Sequence[PriceRow]) -> int:
    """Store the rows that are not stored yet, and mark their minutes for the candles; returns how many rows that were.

    Makes the months they need.
    """
    make_months(cursor, "prices", {row.time[:7] for row in rows})
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS prices_staging (LIKE prices) ON COMMIT DELETE ROWS")
    cursor.copy_expert(f"COPY prices_staging ({_COLUMNS}) FROM STDIN", io.StringIO("".join(map(_copy_line, rows))))
    cursor.execute(f"INSERT INTO prices ({_COLUMNS}) SELECT {_COLUMNS} FROM prices_staging ON CONFLICT DO NOTHING")  # noqa: S608
    inserted = int(cursor.rowcount)
    if inserted:
        # Where an exchange tells its trades, candles are made of those.
        cursor.execute(
            "INSERT INTO candle_marks SELECT DISTINCT instrument, date_trunc('minute', time) FROM prices_staging WHERE source <> 'binance'"
        )
    return inserted


def latest_mids(cursor: Any) -> dict[str, str]:
    """instrument -> mid of its last stored price, by source time."""
    cursor.execute(
        "SELECT i.symbol, p.mid FROM instruments i, LATERAL ("
        "  SELECT mid FROM prices WHERE instrument = i.symbol ORDER BY time DESC, epoch DESC, seq DESC LIMIT 1) p"
    )
    return dict(cursor.fetchall())


CSV_HEADER = b"symbol,time,received,bid,ask,mid,volume,source,seq,epoch\n"

_TIME_TEXT = _TIME.format("time")
_RECEIVED_TEXT = _TIME.format("received")

# How PostgreSQL writes a row: one JSON object, or the columns of `CSV_HEADER`. Neither time nor number is ever anything but
# its text. JSON holds no control character, so a COPY quoted and delimited by two of them gives it as it is.
_FORMS = {
    "json": (
        f"""'{{"symbol":' || to_json(instrument) || ',"time":"' || {_TIME_TEXT} || '","received":"' || {_RECEIVED_TEXT} ||"""
        """ '","bid":"' || bid || '","ask":"' || ask || '","mid":"' || mid || '","volume":' || coalesce('"' || volume || '"', 'null') ||"""
        """ ',"source":' || to_json(source) || ',"seq":' || seq || ',"epoch":' || to_json(epoch) || '}'""",
        r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'",
    ),
    "csv": (f"instrument, {_TIME_TEXT}, {_RECEIVED_TEXT}, bid, ask, mid, volume, source, seq, epoch", "FORMAT csv"),
}


@dataclass(frozen=True, slots=True)
class PriceKey:
    """The place of a price in its instrument's history, which is ordered by (time, epoch, seq)."""

    time: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class PriceRange:
    """The history asked for: `start` <= time < `end`, both in contract form, None where open."""

    instrument: str
    start: str | None = None
    end: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class PricePage:
    """Some rows as text, each record ended by a line feed, and the place to go on after: None where nothing follows."""

    lines: bytes
    following: PriceKey | None


def price_page(cursor: Any, wanted: PriceRange, limit: int, form: Literal["json", "csv"], after: PriceKey | None = None) -> PricePage:
    """Up to `limit` prices of the range that follow `after` in its order; JSON objects a line, or CSV without a header."""
    columns, options = _FORMS[form]
    query = sql.SQL("COPY (SELECT {} FROM prices WHERE {} ORDER BY {} LIMIT {}) TO STDOUT WITH ({})").format(
        sql.SQL(columns), _conditions(wanted, after), _order(wanted), sql.Literal(limit + 1), sql.SQL(options)
    )
    buffer = io.BytesIO()
    cursor.copy_expert(query, buffer)
    lines = buffer.getvalue()
    if cursor.rowcount <= limit:
        return PricePage(lines, None)
    lines = lines[: _last_record(lines, form)]
    return PricePage(lines, _key(lines[_last_record(lines, form) :], form))


def table_exists(cursor: Any) -> bool:
    """Whether the migrations have made the table."""
    cursor.execute("SELECT to_regclass('prices') IS NOT NULL")
    return bool(cursor.fetchone()[0])


def _conditions(wanted: PriceRange, after: PriceKey | None) -> sql.Composed:
    found = [sql.SQL("instrument = {}").format(sql.Literal(wanted.instrument))]
    if wanted.start is not None:
        found.append(sql.SQL("time >= {}").format(sql.Literal(wanted.start)))
    if wanted.end is not None:
        found.append(sql.SQL("time < {}").format(sql.Literal(wanted.end)))
    if after is not None:
        beyond = sql.SQL("<" if wanted.descending else ">")
        key = sql.SQL(", ").join([sql.Literal(after.time), sql.Literal(after.epoch), sql.Literal(after.seq)])
        # The first says nothing new, but it is what partitions are chosen by.
        found.append(sql.SQL("time {}= {} AND (time, epoch, seq) {} ({})").format(beyond, sql.Literal(after.time), beyond, key))
    return sql.SQL(" AND ").join(found)


def _order(wanted: PriceRange) -> sql.SQL:
    return sql.SQL("time DESC, epoch DESC, seq DESC" if wanted.descending else "time, epoch, seq")


def _last_record(lines: bytes, form: str) -> int:
    """Where the last record begins. A line break inside a CSV field is no end: what follows it holds an odd number of quotes."""
    begin = lines.rfind(b"\n", 0, -1) + 1
    while form == "csv" and lines.count(b'"', begin) % 2:
        begin = lines.rfind(b"\n", 0, begin - 1) + 1
    return begin


def _key(record: bytes, form: str) -> PriceKey:
    if form == "json":
        row = orjson.loads(record)
        return PriceKey(row["time"], row["epoch"], row["seq"])
    fields = next(csv.reader(io.StringIO(record.decode(), newline="")))
    return PriceKey(fields[1], fields[9], int(fields[8]))


def _copy_line(row: PriceRow) -> str:
    volume = row.volume if row.volume is not None else "\\N"
    source = row.source.translate(_ESCAPES)
    return f"{row.instrument}\t{row.time}\t{row.received}\t{row.bid}\t{row.ask}\t{row.mid}\t{volume}\t{source}\t{row.epoch}\t{row.seq}\n"
