"""Migration 0017: alerts of the version before, rights, partitions of days, and their retention."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from config.settings import Settings
from db import migrate
from db.alerts import Alert, resolve_alerts, write_alerts
from db.instruments import track_instrument, tracked_symbols
from db.partitions import DAILY, MONTHLY, make_days, make_months, partitions_before
from db.postgres import Store
from jobs.store.retention import delete_old_rows, drop_old_partitions, make_coming_partitions, retention_days, row_days
from tests.conftest import Servers, until
from tests.support.servers import as_role
from tests.support.store import select

_names = itertools.count()
# hour of 18 November 2025 at which each alert was stored
ALERTS = (
    ("volatility", "EUR_USD", None, "warning", 1),
    ("volatility", "GBP_USD", None, "warning", 1), ("volatility", "GBP_USD", None, "warning", 9),
    ("volatility", "USD_JPY", None, "warning", 1), ("volatility", "USD_JPY", None, "critical", 2),
    ("volatility", "USD_JPY", None, "warning", 9), ("volatility", "USD_JPY", None, "critical", 10),
    ("volatility", "AUD_USD", None, "warning", 1), ("volatility", "AUD_USD", None, "critical", 2),
    ("volatility", "AUD_USD", None, "critical", 10),
    ("correlation", "EUR_GBP", "EUR_USD", "critical", 0), ("correlation", "EUR_CHF", "EUR_USD", "warning", 0),
)  # fmt: skip
# (type, symbol, symbol2, severity of the episode, hour of its alert)
EPISODES = (
    ("volatility", "EUR_USD", "", None, 1), ("volatility", "GBP_USD", "", "warning", 9), ("volatility", "USD_JPY", "", "critical", 10),
    ("volatility", "AUD_USD", "", "critical", 10), ("correlation", "EUR_GBP", "EUR_USD", "critical", 0),
)  # fmt: skip
OPEN = {
    ("volatility:GBP_USD", "warning", 9), ("volatility:USD_JPY", "warning", 9), ("volatility:USD_JPY", "critical", 10),
    ("volatility:AUD_USD", "critical", 10), ("correlation:EUR_GBP|EUR_USD", "critical", 0),
}  # fmt: skip


def run(url: str, statement: str, rows: Any = None) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url, options="-c timezone=UTC")
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        if rows is None:
            cursor.execute(statement)
        else:
            cursor.executemany(statement, rows)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def former_database(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a database of the version before, with alerts."""
    name, server = f"before_observability_{next(_names)}", servers.database_url.rsplit("/", 1)[0]
    run(f"{server}/postgres", f"CREATE DATABASE {name}")
    folder = tmp_path / "migrations"
    folder.mkdir()
    for file in (Path(migrate.__file__).parent / "migrations").glob("*.sql"):
        if file.name < "0017":
            shutil.copy(file, folder)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "_MIGRATIONS", folder)
        migrate.apply(f"{server}/{name}")
    yield f"{server}/{name}"
    run(f"{server}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


def test_alerts_of_the_version_before_are_open_if_their_episode_lasts(former_database: str) -> None:
    run(
        former_database,
        "INSERT INTO alerts (type, symbol, symbol2, severity, time, value, threshold, message)"
        " VALUES (%s, %s, %s, %s, '2025-11-18Z'::timestamptz + %s * interval '1 hour', 0.03, 0.02, 'old')",
        ALERTS,
    )
    run(
        former_database,
        "INSERT INTO alert_episodes (type, symbol, symbol2, severity, alerted, told, as_of)"
        " VALUES (%s, %s, %s, %s, '2025-11-18Z'::timestamptz + %s * interval '1 hour', 'warning', '2025-11-18T12:00Z')",
        EPISODES,
    )
    assert migrate.apply(former_database) == ["0017.observability", "0018.books", "0019.duties"]
    rows = run(
        former_database,
        "SELECT key, severity, extract(hour FROM time)::int, state, alert_id, resolved_at, updated_at, time, subject, symbol FROM alerts",
    )
    assert len(rows) == len(ALERTS)
    assert {row[:3] for row in rows if row[3] == "firing"} == OPEN
    assert {row[3] for row in rows} == {"firing", "resolved"}
    for key, severity, _, state, name, resolved, updated, time, subject, symbol in rows:
        assert name == f"{key}:{severity}:{int(time.timestamp() * 1000)}"
        assert key.endswith(f":{subject}")
        assert subject.split("|")[0] == symbol
        assert (resolved, updated) == ((None, time) if state == "firing" else (updated, updated))
    assert ("volatility:EUR_USD", datetime(2025, 11, 18, 12, tzinfo=UTC)) in {(row[0], row[5]) for row in rows}


def alert(hour: int, severity: str = "warning") -> Alert:
    return Alert("volatility", "EUR_USD", None, severity, datetime(2025, 11, 18, hour, tzinfo=UTC), 0.03, None, 0.02, "text")


def test_one_alert_of_a_key_and_severity_is_open(store: Store) -> None:
    with store.transaction() as cursor:
        assert write_alerts(cursor, [alert(1), alert(2, "critical")]) == 2
        assert write_alerts(cursor, [alert(1)]) == 0
        assert write_alerts(cursor, [alert(3)]) == 1  # another episode: the one before is resolved
        rows = "SELECT severity, extract(hour FROM time)::int, state, resolved_at = updated_at FROM alerts ORDER BY time"
        cursor.execute(rows)
        assert cursor.fetchall() == [("warning", 1, "resolved", True), ("critical", 2, "firing", None), ("warning", 3, "firing", None)]
        assert resolve_alerts(cursor, ["volatility:GBP_USD"], datetime(2025, 11, 18, 5, tzinfo=UTC)) == []
        resolved = resolve_alerts(cursor, ["volatility:EUR_USD"], datetime(2025, 11, 18, 5, tzinfo=UTC))
        assert sorted(resolved) == sorted([alert(2, "critical").alert_id, alert(3).alert_id])
        cursor.execute("SELECT count(*) FROM alerts WHERE state = 'resolved'")
        assert cursor.fetchone() == (3,)
    assert alert(0).alert_id == "volatility:EUR_USD:warning:1763424000000"


# partitions and retention


def names(store: Store, table: str) -> list[str]:
    with store.transaction() as cursor:
        return [name.removeprefix(f"{table}_") for name in partitions_before(cursor, table, date(9999, 1, 1))]


def test_days_and_months_are_made_ahead_and_dropped_when_they_are_old(store: Store) -> None:
    for _ in range(2):
        make_coming_partitions(store, date(2025, 12, 31))
    assert {tuple(names(store, table)) for table in DAILY} == {("2025_12_31", "2026_01_01", "2026_01_02")}
    assert {tuple(names(store, table)) for table in MONTHLY} == {("2025_12", "2026_01")}
    dropped = drop_old_partitions(store, date(2026, 1, 15), {"metrics_market_1s": 14, "metrics_market_1m": 14, "fills": 14})
    # The day 31 December is older than 14 days before the 15th, 1 January is that day.
    assert dropped == ["metrics_market_1s_2025_12_31", "metrics_market_1m_2025_12", "fills_2025_12"]
    assert names(store, "metrics_market_1s") == ["2026_01_01", "2026_01_02"]


def test_day_contains_the_times_of_its_day_in_utc(store: Store) -> None:
    with store.transaction() as cursor:
        make_days(cursor, "metrics_system_1s", ["2025-11-18", "2025-11-18"])
        cursor.execute("INSERT INTO metrics_system_1s (time) VALUES ('2025-11-18T00:00:00Z'), ('2025-11-18T23:59:59Z')")
        cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM metrics_system_1s")
        assert cursor.fetchall() == [("metrics_system_1s_2025_11_18",)]


def test_transaction_that_waited_for_the_partitions_of_another_one_continues(database_url: str, store: Store) -> None:
    """The one that waits has looked for the tables before, in a session that has made others."""
    waiting = Store(database_url, pool_max=1)
    errors: list[Exception] = []

    def make() -> None:
        try:
            with waiting.transaction() as cursor:
                make_days(cursor, "metrics_system_1s", ["2024-02-29"])
        except Exception as error:  # noqa: BLE001 - the assertion below shows it
            errors.append(error)

    try:
        with waiting.transaction() as cursor:
            make_days(cursor, "metrics_system_1s", ["2024-02-26", "2024-02-27"])
        with store.transaction() as cursor:
            make_days(cursor, "metrics_system_1s", ["2024-02-29"])
            thread = threading.Thread(target=make)
            thread.start()
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            until(lambda: run(database_url, locks) == [(1,)])
        thread.join(60)
        assert (thread.is_alive(), errors) == (False, [])
        assert names(store, "metrics_system_1s") == ["2024_02_26", "2024_02_27", "2024_02_29"]
    finally:
        waiting.close()


def test_partitions_are_made_ahead_beside_a_transaction_that_makes_those_of_two_tables(
    database_url: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """As the roll-up of metrics does in the first minutes of a system."""
    ahead = Store(database_url, pool_max=1)
    thread = threading.Thread(target=make_coming_partitions, args=(ahead, date(2024, 2, 29)))
    try:
        with store.transaction() as cursor:
            make_months(cursor, "metrics_market_1h", ["2024-02"])
            thread.start()
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            until(lambda: run(database_url, locks) == [(1,)])
            make_months(cursor, "metrics_market_1m", ["2024-02"])
        thread.join(60)
        assert (thread.is_alive(), caplog.messages) == (False, [])
        assert {tuple(names(store, table)) for table in MONTHLY} == {("2024_02", "2024_03")}
        assert {tuple(names(store, table)) for table in DAILY} == {("2024_02_29", "2024_03_01", "2024_03_02")}
    finally:
        ahead.close()


@pytest.mark.parametrize("call", ["make_day('fills', '2025-01-01')", "make_day('metrics_market_1s', '2025-01-01; DROP TABLE fills')"])
def test_days_of_other_tables_are_refused(store: Store, call: str) -> None:
    with pytest.raises(psycopg2.errors.RaiseException), store.transaction() as cursor:
        cursor.execute(f"SELECT {call}")


def test_old_rows_of_reports_and_resolved_alerts_are_deleted(store: Store, settings: Settings) -> None:
    own = replace(settings, retention_alerts=10, retention_reports=5)
    assert row_days(own) == {"access_log": 400, "alerts": 10, "position_checkpoints": 31, "scenario_runs": 730}
    assert row_days(replace(settings, retention_reports=0))["position_checkpoints"] == 0
    tables = ("fills", "signals", "metrics_market_1s", "metrics_system_1m", "metrics_strategy_1h")
    assert {table: retention_days(own)[table] for table in tables} == {
        "fills": 31, "signals": 5, "metrics_market_1s": 14, "metrics_system_1m": 90, "metrics_strategy_1h": 730,
    }  # fmt: skip
    today = datetime(2025, 12, 31, tzinfo=UTC)
    with store.transaction() as cursor:
        write_alerts(cursor, [replace(alert(1), symbol=symbol) for symbol in ("EUR_USD", "GBP_USD")])
        resolve_alerts(cursor, ["volatility:EUR_USD"], today - timedelta(days=11))
        for days in (4, 6, 30, 32):
            moment = today - timedelta(days=days)
            cursor.execute("INSERT INTO report_ids VALUES ('mm-1', 'fill', %s, 'x', %s)", (f"f-{days}", moment))
            cursor.execute("INSERT INTO position_checkpoints VALUES (%s, 'mm-1', 's', 'EUR_USD', 1, 1, 0, '{}', NULL, 1)", (moment.date(),))
    delete_old_rows(store, today.date(), {**retention_days(own), **row_days(own)})
    assert select(store, "SELECT symbol FROM alerts") == [("GBP_USD",)]
    # A late report is at most 30 days old: an id that was deleted earlier would let it count twice.
    assert select(store, "SELECT id FROM report_ids ORDER BY received") == [("f-30",), ("f-6",), ("f-4",)]
    assert select(store, "SELECT count(*) FROM position_checkpoints") == [(3,)]


def test_roles_have_the_rights_of_their_work(store: Store, database_url: str) -> None:
    """The store of tests is that of the writer."""
    with store.transaction() as cursor:
        cursor.execute("SELECT nextval('report_seq')")
        make_months(cursor, "fills", ["2025-11"])
        cursor.execute("SELECT has_column_privilege('tickwire_reader', 'alerts', name, 'UPDATE') FROM unnest(%s) AS name", (
            ["state", "acknowledged_at", "acknowledged_by", "comment", "updated_at"],
        ))  # fmt: skip
        assert set(cursor.fetchall()) == {(True,)}
        cursor.execute(
            "SELECT has_column_privilege('tickwire_reader', 'instruments', 'tracked', 'UPDATE'),"
            " has_column_privilege('tickwire_reader', 'alerts', 'resolved_at', 'UPDATE')"
        )
        assert cursor.fetchall() == [(True, False)]


def test_instruments_are_tracked_by_default(database_url: str) -> None:
    reader = Store(as_role(database_url, "tickwire_reader"))
    with closing(reader), reader.transaction() as cursor:
        cursor.execute("SET TRANSACTION READ WRITE")
        assert len(tracked_symbols(cursor)) == 31
        assert [track_instrument(cursor, name, tracked=False) for name in ("EUR_USD", "EUR_USD", "NONE")] == [True, True, False]
        assert "EUR_USD" not in tracked_symbols(cursor)
        assert track_instrument(cursor, "EUR_USD", tracked=True)
        assert len(tracked_symbols(cursor)) == 31
