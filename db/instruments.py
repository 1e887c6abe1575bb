"""SQL of `instruments`."""

from __future__ import annotations

from dataclasses import dataclass

from db.postgres import Cursor


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be priced. `precision` is the decimals of its prices, `source` the source that feeds it in production."""

    symbol: str
    name: str
    kind: str  # fx, crypto or equity
    precision: int
    source: str


def all_instruments(cursor: Cursor) -> list[Instrument]:
    """Every instrument: FX, crypto, equities, each by symbol."""
    cursor.execute(
        "SELECT symbol, name, kind, precision, source FROM instruments ORDER BY array_position('{fx,crypto,equity}', kind), symbol"
    )
    return [Instrument(*row) for row in cursor.fetchall()]
