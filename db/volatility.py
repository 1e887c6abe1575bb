"""SQL of `volatility`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extras import execute_values

from db.postgres import Cursor

# Values of `estimator`. `alert` is the figure that alert rules use, scaled to a day.
ESTIMATORS = ("close_to_close", "parkinson", "garman_klass", "rogers_satchell", "yang_zhang", "ewma", "alert")


@dataclass(frozen=True, slots=True)
class VolatilityRow:
    """One estimate from `observations` candles up to `time`.

    `volatility` is per hour; both figures are fractions (0.01 = 1 %).
    """

    symbol: str
    estimator: str
    time: datetime
    volatility: float
    annualised: float
    observations: int


def write_volatility(cursor: Cursor, rows: Sequence[VolatilityRow]) -> int:
    """Insert or replace estimates; returns their number."""
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


def latest_volatilities(cursor: Cursor, estimator: str) -> dict[str, VolatilityRow]:
    """symbol -> its last estimate; one index lookup per instrument. Others are left out."""
    cursor.execute(
        "SELECT latest.* FROM instruments CROSS JOIN LATERAL ("
        "SELECT symbol, estimator, time, volatility, annualised, observations FROM volatility"
        " WHERE symbol = instruments.symbol AND estimator = %s ORDER BY time DESC LIMIT 1) AS latest",
        (estimator,),
    )
    return {row[0]: VolatilityRow(*row) for row in cursor.fetchall()}


def last_estimates(cursor: Cursor, estimators: Sequence[str], symbols: Sequence[str] | None = None) -> list[VolatilityRow]:
    """The estimates of each instrument for its last hour that has one from any of `estimators`.

    `symbols` limits the instruments, None takes all. Ordered by symbol, then as `estimators`. One
    index lookup per instrument and estimator.
    """
    cursor.execute(
        "SELECT symbol, estimator, time, volatility, annualised, observations FROM ("
        "SELECT latest.*, place, max(latest.time) OVER (PARTITION BY latest.symbol) AS last"
        " FROM instruments CROSS JOIN unnest(%(estimators)s::text[]) WITH ORDINALITY AS asked(name, place) CROSS JOIN LATERAL ("
        "SELECT * FROM volatility WHERE symbol = instruments.symbol AND estimator = asked.name ORDER BY time DESC LIMIT 1) AS latest"
        " WHERE %(symbols)s::text[] IS NULL OR instruments.symbol = ANY (%(symbols)s::text[])"
        ") AS found WHERE time = last ORDER BY symbol, place",
        {"estimators": list(estimators), "symbols": None if symbols is None else list(symbols)},
    )
    return [VolatilityRow(*row) for row in cursor.fetchall()]
