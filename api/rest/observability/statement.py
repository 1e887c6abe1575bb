"""The statement of a position, computed from the last checkpoint before the page on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from api.rest.listing import ReadPage
from api.rest.observability.rows import Row, page_of
from db.figures.conversion import Rates, net_of_fees
from db.figures.output import decimal_text, rounded
from db.figures.positions import FLAT, Position
from db.figures.statement import Method, StatementRow, statement_rows
from db.listing.observability import STATEMENT
from db.listing.query import Form, Key, Page
from db.postgres import Cursor
from db.replicas import Reads
from db.reports.checkpoints import CheckpointRow, checkpoints_of
from db.reports.fills import PositionKey, fills_in_order
from db.timestamps import format_time, parse_time

RatesFor = Callable[[set[str], str], Rates]  # (currencies, target) -> rates


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """The requested statement; `start` <= time < `end`, None if open. `zone` is `OBS_DAY_ZONE`."""

    position: PositionKey
    method: Method
    start: datetime | None
    end: datetime | None
    descending: bool
    zone: ZoneInfo


def reader(reads: Reads, query: StatementQuery, form: Form, rates: RatesFor) -> ReadPage:
    """Return a function that computes one page of the statement, in a transaction of its own."""

    def read(limit: int, after: Key | None, offset: int = 0) -> Page:
        found = reads.read(lambda cursor: list(_rows_behind(cursor, query, after, limit + 1)))
        known: dict[str, Rates] = {}
        rows = []
        for each in found:
            if each.currency not in known:
                known[each.currency] = rates({name for name, amount in each.fees.items() if amount}, each.currency)
            rows.append(_as_row(each, known[each.currency]))
        return page_of(STATEMENT, rows, limit, form)

    return read


def _rows_behind(cursor: Cursor, query: StatementQuery, after: Key | None, most: int) -> Iterator[StatementRow]:
    """Yield up to `most` rows behind the key (time, fill_id) of the last row of the page before."""
    start, end = query.start, query.end
    place = None if after is None else parse_time(str(after[0]))
    if place is not None and not query.descending:
        start = place if start is None else max(start, place)
    since, opening = _opening(cursor, query, start)
    rows: Iterator[StatementRow] = (
        row
        for row in statement_rows(fills_in_order(cursor, query.position, since, end), query.method, opening)
        if start is None or row.time >= start
    )
    if query.descending:
        rows = reversed(list(rows))
    passed = after is None
    for row in rows:
        if passed or place is None:
            if not most:
                return
            most -= 1
            yield row
        elif row.time == place:
            passed = row.fill_id == after[1] if after else True
        elif (row.time < place) is query.descending:
            # The row of the key is voided meanwhile.
            passed = True
            most -= 1
            yield row


def _opening(cursor: Cursor, query: StatementQuery, start: datetime | None) -> tuple[datetime | None, Position]:
    """Return the time from which fills are needed, and the position at that time.

    It is that of the last checkpoint before `start`; of one that is flat if lots are needed. A
    position without one is flat before its first fill, unless retention has dropped older ones:
    then it is that of its first checkpoint.
    """
    usable: list[CheckpointRow] = []
    known = checkpoints_of(cursor, *query.position)
    if start is not None:
        day = start.astimezone(query.zone).date()
        usable = [row for row in known if row.day <= day and (query.method == "average" or not row.quantity)]
    if usable:
        return _beginning(usable[-1], query.zone), _position(usable[-1])
    if known and known[0].quantity:
        first = _beginning(known[0], query.zone)
        if next(fills_in_order(cursor, query.position, None, first), None) is None:
            return first, _position(known[0])
    return None, FLAT


def _beginning(row: CheckpointRow, zone: ZoneInfo) -> datetime:
    return datetime.combine(row.day, time(), zone).astimezone(UTC)


def _position(row: CheckpointRow) -> Position:
    return Position(row.quantity, row.average if row.quantity else Decimal(0), row.gross, row.fees)


def _as_row(row: StatementRow, rates: Rates) -> Row:
    """Return the columns of a row; `realized_pnl` is None if a fee cannot be converted."""
    net = net_of_fees(row.realized_gross, row.currency, row.fees, rates)
    return {
        "time": format_time(row.time),
        "fill_id": row.fill_id,
        "side": row.side,
        "quantity": decimal_text(row.quantity),
        "price": decimal_text(row.price),
        "fee": decimal_text(row.fee),
        "fee_currency": row.fee_currency,
        "position": _text(row.position),
        "average_price": _text(row.average_price),
        "realized_gross": _text(row.realized_gross),
        "realized_pnl": None if net.incomplete else _text(net.amount),
    }


def _text(value: Decimal | None) -> Any:
    short = rounded(value)
    return None if short is None else decimal_text(short)
