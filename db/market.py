"""SQL of the market overview: figures of many instruments at once, one statement each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from db.copy import time_text_sql
from db.postgres import Cursor

SPARK_HOURS = 24  # closes of complete hours
RECEPTIONS = 33  # of the newest prices, whose intervals are compared


@dataclass(frozen=True, slots=True)
class MarketRow:
    """One instrument with figures of its candles; `day` and `spark` are JSON texts.

    `reference` is the close of the last complete `1d` candle, `day` the running one, both None if
    there is none. `spark` are the closes of the last complete hours, oldest first.
    """

    symbol: str
    calendar: str
    source: str
    reference: str | None
    day: str | None
    spark: str


# A candle that has ended is before the running one. The conditions on `start_time` that repeat
# those on `end_time` select partitions.
_MARKET = f"""
SELECT i.symbol, i.calendar, i.source, reference.close, day.body, coalesce('["' || spark.closes || '"]', '[]')
FROM instruments i
LEFT JOIN LATERAL (
    SELECT close FROM candles
    WHERE symbol = i.symbol AND interval = '1d' AND complete AND end_time <= %(now)s AND start_time < %(now)s
    ORDER BY start_time DESC LIMIT 1
) AS reference ON true
LEFT JOIN LATERAL (
    SELECT '{{"start_time":"' || {time_text_sql("start_time")} || '","end_time":"' || {time_text_sql("end_time")}
           || '","open":"' || open || '","high":"' || high || '","low":"' || low || '"}}' AS body
    FROM candles
    WHERE symbol = i.symbol AND interval = '1d' AND end_time > %(now)s
      AND start_time <= %(now)s AND start_time > %(now)s::timestamptz - interval '2 days'
    ORDER BY start_time DESC LIMIT 1
) AS day ON true
LEFT JOIN LATERAL (
    SELECT string_agg(close::text, '","' ORDER BY start_time) AS closes FROM (
        SELECT start_time, close FROM candles
        WHERE symbol = i.symbol AND interval = '1h' AND complete AND end_time <= %(now)s AND start_time < %(now)s
        ORDER BY start_time DESC LIMIT {SPARK_HOURS}
    ) AS newest
) AS spark ON true
"""  # noqa: S608

# Microseconds: their median has no rounding error.
_INTERVALS = f"""
SELECT i.symbol, count(step), percentile_cont(0.5) WITHIN GROUP (ORDER BY step)
FROM instruments i
LEFT JOIN LATERAL (
    SELECT (extract(epoch FROM received - lag(received) OVER (ORDER BY received)) * 1000000)::double precision AS step
    FROM (
        SELECT received FROM prices WHERE instrument = i.symbol AND time >= %(start)s AND time < %(end)s
        ORDER BY time DESC, epoch DESC, seq DESC LIMIT {RECEPTIONS}
    ) AS newest
) AS steps ON true
GROUP BY i.symbol
"""  # noqa: S608


def market_rows(cursor: Cursor, now: str, symbols: Iterable[str] | None = None) -> Iterator[MarketRow]:
    """Yield the figures of the enabled instruments, or of `symbols`, also disabled ones.

    `now` is in contract form. The order is that of the symbols.
    """
    names = None if symbols is None else list(symbols)
    chosen = "WHERE i.enabled" if names is None else "WHERE i.symbol = ANY (%(names)s::text[])"
    cursor.execute(f"{_MARKET} {chosen} ORDER BY i.symbol", {"now": now, "names": names})
    return (MarketRow(*row) for row in cursor.fetchall())


def reception_intervals(cursor: Cursor, start: str, end: str) -> dict[str, tuple[int, float | None]]:
    """symbol -> number of the newest intervals between receptions, and their median in µs.

    Of all instruments, also disabled ones, and of prices from `start` on, before `end`. The median
    is None without an interval.
    """
    cursor.execute(_INTERVALS, {"start": start, "end": end})
    return {symbol: (count, median) for symbol, count, median in cursor.fetchall()}
