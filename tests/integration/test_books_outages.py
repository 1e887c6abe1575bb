"""Redis and PostgreSQL are killed under live books and a scenario: chain, gaps and runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from config.settings import load as load_settings
from db.bus import Bus
from db.postgres import Store, StoreError
from db.scenario_runs import latest_runs
from db.scenarios.run_record import RunRecord
from db.timestamps import utc_now
from ops import embedded
from tests.conftest import until
from tests.integration.test_book_faults import check, follows
from tests.standins.binance import BinanceStandIn
from tests.support.clients import PythonClient
from tests.support.processes import Breakable, Web, books
from tests.support.store import select
from tests.support.up import copy_data, make_data

DEPTHS = [{"pair": name, "depth": depth} for name in ("BTCUSDT", "ETHUSDT") for depth in (5, 50)]
INTERVAL = {"HEARTBEAT_INTERVAL": "0.5"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of both servers, with a migrated database."""
    data = make_data(tmp_path_factory.mktemp("data") / "var")
    return copy_data(data, tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[Breakable]:
    with Breakable(embedded.redis(folder), folder) as process:
        yield process


@pytest.fixture(scope="module")
def postgres(folder: Path) -> Iterator[Breakable]:
    with Breakable(embedded.postgres(folder), folder) as process:
        yield process


@pytest.fixture(scope="module")
def config(redis: Breakable, postgres: Breakable, folder: Path) -> Settings:
    return load_settings({"REDIS_URL": redis.url, "DATABASE_URL": postgres.url, "HUB_DATA_DIR": str(folder), "SOURCES": ""}, dotenv=None)


def returned(body: dict[str, Any], name: str) -> bool:
    """True if a book is live again after its gap."""
    return (body["instrument"], body["state"], body["reason"]) == (name, "live", "missing_update")


def test_live_books_go_on_after_redis_and_their_gaps_are_stored_after_postgres(
    config: Settings, redis: Breakable, postgres: Breakable, tmp_path: Path
) -> None:
    with (
        BinanceStandIn(tmp_path) as exchange,
        books(config, tmp_path / "books.log", **exchange.book_variables, BOOK_SNAPSHOT_LIMIT="1000", SOURCES="", **INTERVAL) as process,
        Web("hub", config, tmp_path / "hub.log", **INTERVAL) as hub,
        PythonClient(hub.url) as client,
    ):
        until(lambda: client.call("subscribe", {"books": DEPTHS})["books"] == DEPTHS, 30, process.output)
        follows(client)
        with redis.down():
            exchange.control("skip", kind="diff", symbol="BTCUSDT")
            until(lambda: "books are not published" in process.output(), 30, process.output)
        client.wait("book_state", where=lambda body: returned(body, "BTCUSDT"), seconds=60)
        follows(client)

        with postgres.down():
            exchange.control("skip", kind="diff", symbol="ETHUSDT")
            client.wait("book_state", where=lambda body: returned(body, "ETHUSDT"), seconds=60)
            follows(client)  # the books do not wait for the store
        with closing(Store(postgres.url)) as store:
            sql = "SELECT symbol, reason, state FROM gaps WHERE kind = 'book' ORDER BY symbol"
            expected = [(name, "missing_update", "filled") for name in ("BTCUSDT", "ETHUSDT")]
            until(lambda: select(store, sql) == expected, 30, process.output)
        for name in ("BTCUSDT", "ETHUSDT"):
            check([(event, body) for event, body in client.received if (body or {}).get("instrument", name) == name], name)


def test_run_of_a_scenario_is_stored_after_postgres_comes_back(
    config: Settings, redis: Breakable, postgres: Breakable, tmp_path: Path
) -> None:
    with (
        closing(Bus(redis.url, utc_now)) as bus,
        closing(Store(postgres.url)) as store,
        books(config, tmp_path / "books.log", SOURCES="scenario", **INTERVAL) as process,
    ):

        def run() -> RunRecord | None:
            try:
                with store.transaction() as cursor:
                    return next(iter(latest_runs(cursor, 1)), None)
            except StoreError:  # a connection of the pool from before the kill
                return None

        def processed() -> int:
            beat = bus.latest_heartbeat()
            return 0 if beat is None or beat["books"].get("BTCUSDT") != "live" else int(beat["total_messages_processed"])

        until(lambda: (found := run()) is not None and found.outcome == "running" and processed(), 30, process.output)
        with postgres.down():
            until(lambda: "runs of scenarios are not stored" in process.output(), 30, process.output)
            before = processed()
            until(lambda: processed() > before + 20, 30, process.output)
        second = len(found.timeline) if (found := run()) is not None else 0
        until(lambda: (found := run()) is not None and len(found.timeline) > second + 5, 30, process.output)
        assert process.ask_to_stop() == 0
        found = run()
        assert found is not None
        assert (found.outcome, found.wrong_books, found.gaps) == ("switched", 0, 0)
        assert [each["second"] for each in found.timeline] == list(range(len(found.timeline)))
