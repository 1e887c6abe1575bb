"""A typical application on the same stream: decode, collect 100 rows, `execute_values`, commit.

`execute_values WS_URL DATABASE_URL`
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extras import execute_values
from websockets.sync.client import connect

BATCH = 100
_INSERT = "INSERT INTO raw_trades (symbol, trade_id, time, price, quantity, side) VALUES %s ON CONFLICT DO NOTHING"


def main(ws_url: str, database_url: str) -> None:
    """Read until killed; write an incomplete batch after 0.1 s without a message."""
    database = psycopg2.connect(database_url)
    rows: list[tuple[Any, ...]] = []
    with connect(ws_url, compression=None, ping_interval=None) as stream:
        while True:
            try:
                message = json.loads(stream.recv(timeout=0.1))["data"]
                if message.get("e") == "trade":
                    moment = datetime.fromtimestamp(message["T"] / 1000, UTC)
                    side = "sell" if message["m"] else "buy"
                    rows.append((message["s"], message["t"], moment, message["p"], message["q"], side))
            except TimeoutError:
                _write(database, rows)
            if len(rows) >= BATCH:
                _write(database, rows)


def _write(database: Any, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        with database, database.cursor() as cursor:
            execute_values(cursor, _INSERT, rows, page_size=BATCH)
        rows.clear()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
