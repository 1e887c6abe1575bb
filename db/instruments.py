"""SQL of `instruments`."""

from __future__ import annotations

from dataclasses import dataclass

from db.postgres import Cursor


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument. `precision` is the number of decimals of its prices.

    `source` is the source of its prices in production.
    """

    symbol: str
    name: str
    kind: str  # fx, crypto or equity
    precision: int
    source: str


def all_instruments(cursor: Cursor) -> list[Instrument]:
    """Every instrument, ordered by kind (FX, crypto, equities) and symbol."""
    cursor.execute(
        "SELECT symbol, name, kind, precision, source FROM instruments ORDER BY array_position('{fx,crypto,equity}', kind), symbol"
    )
    return [Instrument(*row) for row in cursor.fetchall()]
