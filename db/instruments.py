"""SQL of `instruments`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from db.postgres import Cursor

# The kinds of instruments, in the order of lists.
KINDS = ("fx", "metal", "commodity", "index", "bond", "crypto", "equity", "other")
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


def all_instruments(cursor: Cursor, *, disabled: bool = False) -> list[Instrument]:
    """The enabled instruments, with `disabled` all of them, ordered by kind and symbol."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM instruments WHERE enabled OR %s ORDER BY array_position(%s, kind), symbol",  # noqa: S608
        (disabled, list(KINDS)),
    )
    return [Instrument(*row) for row in cursor.fetchall()]
