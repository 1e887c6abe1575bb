"""Lists of partitioned tables: PostgreSQL plans to read at most the months that were asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.partitions import make_months
from db.postgres import Cursor, Store
from tests.conftest import Servers, new_database

NOW = datetime(2025, 11, 18, 12, 30, tzinfo=UTC)
MONTHS = tuple(f"2025-{number:02d}" for number in range(7, 13))
TABLES = ("prices", "raw_trades", "candles")
PATHS = {
    "prices": "/ticks?symbol=EUR_USD",
    "raw_trades": "/market/trades?symbol=BTCUSDT",
    "candles": "/candles?symbol=EUR_USD&interval=1m",
}
# arguments of the request -> months that were asked for
RANGES = {
    "&start=2025-08-10&end=2025-09-20": MONTHS[1:3],
    "&start=2025-08-10&end=2025-09-20&order=desc": MONTHS[1:3],
    "&start=2025-10-01&end=2025-11-01": MONTHS[3:4],
    "&start=2025-10-01&end=2025-11-01&format=csv": MONTHS[3:4],
    "&start=2025-11-18": MONTHS[4:5],
    "&end=2025-08-01": MONTHS[:1],
    "": MONTHS[:5],
}


class Recorded(Store):
    """A store that keeps the queries of `COPY`."""

    queries: list[str]

    def _transaction(self) -> Iterator[Cursor]:
        queries = self.queries

        class Recording(psycopg2.extensions.cursor):
            def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
                queries.append(sql.as_string(self))
                super().copy_expert(sql, file, size)

        for cursor in super()._transaction():
            with cursor.connection.cursor(cursor_factory=Recording) as recording:
                yield recording


@pytest.fixture(scope="module")
def store(servers: Servers) -> Iterator[Recorded]:
    with new_database(servers) as url, closing(Recorded(url)) as found:
        found.queries = []
        with found.transaction() as cursor:
            for table in TABLES:
                make_months(cursor, table, MONTHS)
        yield found


@pytest.fixture
def client(bus: Bus, store: Recorded, settings: Settings) -> FlaskClient:
    return create_app(settings, bus, store, lambda: NOW, "1").test_client()


@pytest.mark.parametrize("table", TABLES)
def test_list_reads_the_months_that_were_asked_for(client: FlaskClient, store: Recorded, table: str) -> None:
    for arguments, months in RANGES.items():
        store.queries.clear()
        answer = client.get(PATHS[table] + arguments)
        assert answer.status_code == 200, answer.text
        [query] = store.queries
        assert read_by(store, query) == {f"{table}_{month.replace('-', '_')}" for month in months}, arguments


def read_by(store: Recorded, query: str) -> set[str]:
    """Return the partitions in the plan of a query of `COPY`."""
    match = re.fullmatch(r"COPY \((.*)\) TO STDOUT WITH \(.*\)", query, re.DOTALL)
    assert match is not None, query
    with store.transaction() as cursor:
        cursor.execute("EXPLAIN " + match[1].replace("%", "%%"))
        plan = "\n".join(line for (line,) in cursor.fetchall())
    return set(re.findall(r"\b(?:prices|raw_trades|candles)_\d{4}_\d\d\b(?!_)", plan))
