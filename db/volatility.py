"""SQL of `volatility`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values


@dataclass(frozen=True, slots=True)
class VolatilityRow:
    """One estimate: `volatility` per hour and annualised, fractions (0.01 = 1 %), from so many candles up to `time`."""

    symbol: str
    estimator: str
    time: datetime
    volatility: float
    annualised: float
    observations: int


def write_volatility(cursor: Any, rows: Sequence[VolatilityRow]) -> int:
    """Store estimates; one that is there already is replaced. How many they were."""
    values = [(row.symbol, row.estimator, row.time, row.volatility, row.annualised, row.observations) for row in rows]
    execute_values(
        cursor,
        "INSERT INTO volatility (symbol, estimator, time, volatility, annualised, observations) VALUES %s"
        " ON CONFLICT (symbol, estimator, time) DO UPDATE SET"
        " volatility = excluded.volatility, annualised = excluded.annualised, observations = excluded.observations",
        values,
        page_size=1000,
    )
    return len(values)


def latest_volatilities(cursor: Any, estimator: str) -> dict[str, VolatilityRow]:
    """symbol -> its last estimate, of the instruments that have one: one look into the index for each."""
    cursor.execute(
        "SELECT latest.* FROM instruments CROSS JOIN LATERAL ("
        "SELECT symbol, estimator, time, volatility, annualised, observations FROM volatility"
        " WHERE symbol = instruments.symbol AND estimator = %s ORDER BY time DESC LIMIT 1) AS latest",
        (estimator,),
    )
    return {row[0]: VolatilityRow(*row) for row in cursor.fetchall()}
