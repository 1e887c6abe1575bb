"""What the store holds, as tests compare it."""

from __future__ import annotations

from typing import Any

from db.messages import Trade, trade_lines
from db.postgres import Store
from db.trades import insert_trades

TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""  # of a column, in contract form


def put(store: Store, trades: list[Trade]) -> None:
    """Store these trades."""
    with store.transaction() as cursor:
        insert_trades(cursor, trade_lines(trades))


def stored(store: Store) -> list[Trade]:
    """Every trade, by symbol and id."""
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT symbol, trade_id, {TIME.format('time')}, price, quantity, side FROM raw_trades ORDER BY symbol, trade_id"  # noqa: S608
        )
        return [Trade(*row) for row in cursor.fetchall()]


def count(store: Store) -> int:
    """How many trades there are."""
    with store.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM raw_trades")
        return int(cursor.fetchall()[0][0])


def gaps(store: Store, *states: str) -> list[tuple[Any, ...]]:
    """(symbol, first, last, missing, state, reason) of every gap in trades, or of those in these states."""
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT symbol, first_id, last_id, missing, state, reason FROM gaps WHERE kind = 'trades' ORDER BY symbol, first_id, id"
        )
        return [row for row in cursor.fetchall() if not states or row[4] in states]
