"""Rows of the store: written for a test and read for a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from db.candles import CandleRow, Ohlc, insert_candles
from db.messages import Trade, trade_lines
from db.postgres import Store
from db.timestamps import format_time
from db.trades import insert_trades

HOUR = timedelta(hours=1)
TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""  # of a column, in contract form


def put_trades(store: Store, trades: list[Trade]) -> None:
    """Store these trades."""
    with store.transaction() as cursor:
        insert_trades(cursor, trade_lines(trades))


def stored_trades(store: Store) -> list[Trade]:
    """Return every trade, by symbol and id."""
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT symbol, trade_id, {TIME.format('time')}, price, quantity, side FROM raw_trades ORDER BY symbol, trade_id"  # noqa: S608
        )
        return [Trade(*row) for row in cursor.fetchall()]


def count_trades(store: Store) -> int:
    """Return the number of trades."""
    with store.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM raw_trades")
        return int(cursor.fetchall()[0][0])


def trade_gaps(store: Store, *states: str) -> list[tuple[Any, ...]]:
    """Return (symbol, first, last, missing, state, reason) of each gap in trades.

    With `states`, only the gaps in these states.
    """
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT symbol, first_id, last_id, missing, state, reason FROM gaps WHERE kind = 'trades' ORDER BY symbol, first_id, id"
        )
        return [row for row in cursor.fetchall() if not states or row[4] in states]


def put_candles(store: Store, rows: Sequence[CandleRow]) -> None:
    """Store candles and remove the marks for the roll-up, which does not run."""
    with store.transaction() as cursor:
        insert_candles(cursor, rows)
        cursor.execute("TRUNCATE candle_marks")


def candle(symbol: str, start: datetime, mid: Ohlc, *, source: str = "ticks") -> CandleRow:
    """Return an hourly candle without bid and ask."""
    end = format_time(start + HOUR)
    return CandleRow(symbol, "1h", format_time(start), end, mid, None, None, "1", 1, complete=True, source=source)


def select(store: Store, statement: str, *parameters: object) -> list[Any]:
    """Return the rows of a query."""
    with store.transaction() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
