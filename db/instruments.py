"""SQL of `instruments`: the table that an operator changes while all processes run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2

from db.postgres import Cursor, StoreError, first_line, scalar

# The kinds of instruments, in the order of lists.
KINDS = ("fx", "metal", "commodity", "index", "bond", "crypto", "equity", "other")
MAX_PRECISION = 12
_DOLLAR = "USD"
_quoted_in = re.compile(r"(USDT|USDC|USD)\Z").search
_COLUMNS = "symbol, name, kind, precision, source, currency, calendar, start_level, volatility, enabled, changed"


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument. `precision` is the number of decimals of its prices.

    `source` is the source of its prices in production. `calendar` is a row of `db/calendars.py`:
    it decides on hours, grids and the earliest date. `start_level` and `volatility` (per year) are
    for made-up prices; None is the value of the kind. `changed` is the number of the last change.
    """

    symbol: str
    name: str
    kind: str  # one of KINDS
    precision: int
    source: str
    currency: str
    calendar: str  # fx, equity or crypto
    start_level: Decimal | None = None
    volatility: float | None = None
    enabled: bool = True
    changed: int = 0


def default_calendar(kind: str) -> str:
    """The calendar of most instruments of the kind."""
    if kind in ("fx", "metal", "commodity", "bond"):
        return "fx"
    return "equity" if kind in ("equity", "index") else "crypto"


def default_currency(symbol: str, kind: str) -> str | None:
    """The currency of the prices, as the symbol has it; None if an FX pair or metal has no `_`."""
    quoted = symbol.partition("_")[2]
    if kind in ("fx", "metal"):
        return quoted or None
    if kind in ("commodity", "bond"):
        return quoted or _DOLLAR
    if kind == "crypto":
        suffix = _quoted_in(symbol)
        return quoted or (suffix[0] if suffix else _DOLLAR)
    return _DOLLAR


def all_instruments(cursor: Cursor, *, disabled: bool = False) -> list[Instrument]:
    """The enabled instruments, with `disabled` all of them, ordered by kind and symbol."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM instruments WHERE enabled OR %s ORDER BY array_position(%s, kind), symbol",  # noqa: S608
        (disabled, list(KINDS)),
    )
    return [_instrument(row) for row in cursor.fetchall()]


def _instrument(row: Sequence[Any]) -> Instrument:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    if values["start_level"] is not None:
        values["start_level"] = Decimal(values["start_level"])
    return Instrument(**values)


def calendars_of(instruments: Iterable[Instrument]) -> dict[str, str]:
    """symbol -> calendar."""
    return {each.symbol: each.calendar for each in instruments}


def last_change(instruments: Iterable[Instrument]) -> int:
    """The number of the last change; 0 if the instruments are those of the migrations."""
    return max((each.changed for each in instruments), default=0)


def lock_instruments(cursor: Cursor) -> None:
    """Let no other transaction change instruments until the end of this one.

    So the numbers of changes become visible in their order.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire instruments'))")


def add_instrument(cursor: Cursor, instrument: Instrument) -> int:
    """Insert an instrument and return the number of the change. Call `lock_instruments` first."""
    values = [getattr(instrument, column) for column in _COLUMNS.split(", ")[:-1]]
    places = ", ".join(["%s"] * len(values))
    return _change(
        cursor,
        f"INSERT INTO instruments ({_COLUMNS}) VALUES ({places}, nextval('instrument_changes')) RETURNING changed",  # noqa: S608
        values,
    )


def enable_instrument(cursor: Cursor, symbol: str, *, enabled: bool) -> int:
    """Enable or disable an instrument and return the number of the change.

    Call `lock_instruments` first.
    """
    statement = "UPDATE instruments SET enabled = %s, changed = nextval('instrument_changes') WHERE symbol = %s RETURNING changed"
    return _change(cursor, statement, (enabled, symbol))


def tracked_symbols(cursor: Cursor) -> list[str]:
    """The enabled instruments of which market metrics are collected, in alphabetical order."""
    cursor.execute("SELECT symbol FROM instruments WHERE enabled AND tracked ORDER BY symbol")
    return [symbol for (symbol,) in cursor.fetchall()]


def track_instrument(cursor: Cursor, symbol: str, *, tracked: bool) -> bool:
    """Begin or end the collection of an instrument's metrics; False if it does not exist.

    The reader of the store may do it. Call it first in a transaction.
    """
    cursor.execute("SET TRANSACTION READ WRITE")  # the role of hub and REST reads by default
    cursor.execute("UPDATE instruments SET tracked = %s WHERE symbol = %s AND enabled", (tracked, symbol))
    return bool(cursor.rowcount)


def _change(cursor: Cursor, statement: str, values: Sequence[object]) -> int:
    """Raises `StoreError` if the role of the connection may not change instruments."""
    try:
        cursor.execute(statement, values)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise StoreError(f"{first_line(error)}: set DATABASE_URL to the owner of the tables, as for `manage.py migrate`") from error
    return int(scalar(cursor))
