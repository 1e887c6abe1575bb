"""`manage.py instrument` while jobs, REST, a hub and clients run: all take the change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
import redis as redis_client
from tickwire_client import Client, InstrumentsChanged

from config.settings import Settings
from db import topics
from db.bus import Bus
from db.instruments import Instrument, add_instrument, lock_instruments
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import Servers, until
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.clients import FxNode, PythonClient
from tests.support.hub_variants import variant
from tests.support.processes import ROOT, Web, environ_of, jobs
from tests.support.servers import of_database

SCOPES = ["read", "observe"]
GOLD = ("XAU_USD", "--kind", "metal", "--name", "Gold / US Dollar", "--precision", "2", "--start", "2400")
HOURS = 60 * 24  # of the past of an added instrument


@dataclass(frozen=True, slots=True)
class System:
    """The processes of the module, and an operator's command line."""

    settings: Settings
    hub: Web  # everyone has all rights
    keyed: Web  # CONNECT lists the rights
    rest: Web

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, **environ_of(self.settings), "SOURCES": "synthetic", "LOG_FILE": ""}
        argv = [sys.executable, "manage.py", "instrument", *arguments]
        return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.rest.url + path, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def symbols(self, query: str = "") -> dict[str, Any]:
        """symbol -> its entry of `/symbols`."""
        return {each["symbol"]: each for each in self.get("/symbols" + query)["symbols"]}


@pytest.fixture(scope="module")
def system(shared_settings: Settings, shared_hub: Web, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2).flushdb()
    feed = {"SOURCES": "synthetic", "SYNTHETIC_SEED": "3", "INGESTION_INTERVAL_SECONDS": "1"}
    with (
        jobs(shared_settings, folder / "jobs.log", **feed),
        Web("rest", shared_settings, folder / "rest.log") as rest,
        variant("with_rights", shared_settings, folder / "keyed.log") as keyed,
    ):
        found = System(shared_settings, shared_hub, keyed, rest)
        until(lambda: found.symbols().get("EUR_USD", {}).get("last_price_time"), 60)
        yield found


@pytest.fixture
def everyone(system: System) -> Iterator[PythonClient]:
    with PythonClient(system.hub.url) as client:
        yield client


def keyed(system: System, *patterns: str) -> PythonClient:
    client = PythonClient(system.keyed.url)
    client.connect({"scopes": SCOPES, "instruments": list(patterns)})
    return client


def priced(client: PythonClient, instrument: str) -> Any:
    return client.wait("price_update", where=lambda body: body["instrument"] == instrument)


def test_added_then_disabled_instrument_reaches_every_process_and_client(system: System, everyone: PythonClient) -> None:
    ours, metals, euros = Client(system.hub.url), keyed(system, "EUR_*", "XAU_*"), keyed(system, "EUR_*")
    with ours, FxNode(system.hub.url) as node:
        node.call("connect")
        node.call("subscribe", "all")
        ours.subscribe("all")
        changes: list[InstrumentsChanged] = []
        seen: set[str] = set()
        ours.on_instruments_changed(changes.append)
        ours.on_price(lambda tick: seen.add(tick.instrument))
        before = len(everyone.bodies("connection_established")[0]["available_pairs"])

        done = system.command("add", *GOLD)
        assert (done.returncode, done.stdout) == (0, "added XAU_USD\n"), done.stderr

        body = everyone.wait("instruments_changed")
        assert (body["added"], body["removed"], body["count"]) == (["XAU_USD"], [], before + 1)
        assert metals.wait("instruments_changed")["count"] == len(metals.bodies("connection_established")[0]["available_pairs"]) + 1
        assert everyone.call("subscribe", {"pairs": ["XAU_USD"], "candles": [{"pair": "XAU_USD", "interval": "1m"}]})["added"] == [
            "XAU_USD"
        ]
        price = priced(everyone, "XAU_USD")["price"]
        assert abs(Decimal(price["mid"]) / 2400 - 1) < Decimal("0.05")
        with PythonClient(system.hub.url) as later:
            assert "XAU_USD" in later.bodies("connection_established")[0]["available_pairs"]
        # both clients of ours had subscribed to all, before
        until(lambda: "XAU_USD" in seen)
        until(lambda: [each for name, each in node.received if name == "onPriceUpdate" and each["instrument"] == "XAU_USD"])
        assert [each.added for each in changes] == [("XAU_USD",)]
        shown = system.symbols()["XAU_USD"]
        assert (shown["currency"], shown["calendar"], shown["enabled"], shown["fed_by"]) == ("USD", "fx", True, "synthetic")
        assert len(system.get("/candles?symbol=XAU_USD&interval=1h&limit=1000")["candles"]) == 1000  # of 60 days
        assert stored(system, "SELECT count(*) FROM candles WHERE symbol = 'XAU_USD' AND interval = '1h'")[0][0] >= HOURS
        until(lambda: stored(system, "SELECT count(*) FROM prices WHERE instrument = 'XAU_USD'")[0][0], what="a stored price")

        done = system.command("disable", "XAU_USD")
        assert (done.returncode, done.stdout) == (0, "disabled XAU_USD\n"), done.stderr

        assert everyone.wait("instruments_changed", 2)["removed"] == ["XAU_USD"]
        held = everyone.call("get_subscriptions")
        assert (held["pairs"], held.get("candles", [])) == ([], [])
        assert everyone.call("subscribe", {"pairs": ["XAU_USD"]})["rejected"][0]["code"] == "unknown_instrument"
        assert everyone.call("request_price", {"instrument": "XAU_USD"})["code"] == "unknown_instrument"
        assert "XAU_USD" not in system.symbols()
        assert system.symbols("?all=true")["XAU_USD"]["enabled"] is False
        assert len(system.get("/candles?symbol=XAU_USD&interval=1h&limit=5")["candles"]) == 5
        until(lambda: [each.removed for each in changes] == [(), ("XAU_USD",)])
        assert ours.get_subscriptions()["pair_count"] == before

        assert system.command("enable", "XAU_USD").returncode == 0
        assert everyone.wait("instruments_changed", 3)["added"] == ["XAU_USD"]
        until(lambda: system.symbols()["XAU_USD"]["fed_by"] == "synthetic")
        # A key without XAU_USD received nothing: its answers are in the order of sending.
        assert euros.call("get_subscriptions")["pairs"] == []
        assert euros.bodies("instruments_changed") == []
        assert len(metals.bodies("instruments_changed")) == 3
    metals.__exit__(None, None, None)
    euros.__exit__(None, None, None)


def stored(system: System, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(str(system.settings.database_url))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        connection.close()


@pytest.mark.parametrize("lost", ["message", "key"])
def test_change_is_taken_without_its_message(system: System, everyone: PythonClient, servers: Servers, lost: str) -> None:
    """Without the message, the key shows the change; a key that Redis has lost, jobs set again."""
    name = f"LOST_{lost.upper()}"
    store, bus = Store(str(system.settings.database_url)), Bus(str(system.settings.redis_url), utc_now)
    with store.transaction() as cursor:
        lock_instruments(cursor)
        number = add_instrument(cursor, Instrument(name, "Lost", "other", 2, "publish", "USD", "crypto"))
    raw = redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)
    if lost == "message":
        raw.set(topics.INSTRUMENTS, number)
    else:
        raw.delete(topics.INSTRUMENTS)
        raw.publish(topics.INSTRUMENTS, "")
    assert everyone.wait("instruments_changed", where=lambda body: name in body["added"])
    until(lambda: name in bus.windows(), what="admission")
    until(lambda: bus.instruments_changed() == number, what="the number of the change")
    assert system.symbols()[name]["fed_by"] is None  # nothing makes prices of an instrument of `publish`
    store.close()
    bus.close()


def test_adding_an_existing_instrument_succeeds_if_all_values_are_equal(system: System) -> None:
    done = system.command("add", "AAPL", "--kind", "equity", "--name", "Apple", "--precision", "2")
    assert (done.returncode, done.stdout) == (0, "AAPL exists already\n")
    done = system.command("add", "AAPL", "--kind", "equity", "--name", "Apple", "--precision", "3", "--start", "7")
    assert done.returncode == 2
    assert "AAPL exists already, with --precision 2, --start by default" in done.stderr


def test_list_and_changes_of_unknown_names(system: System) -> None:
    listed = json.loads(system.command("list", "--json").stdout)
    assert listed["count"] == len(listed["instruments"]) >= 31
    assert next(each for each in listed["instruments"] if each["symbol"] == "BTCUSDT") == {
        "symbol": "BTCUSDT", "name": "Bitcoin / Tether", "kind": "crypto", "precision": 2, "currency": "USDT", "calendar": "crypto",
        "source": "binance", "start": None, "volatility": None, "enabled": True,
    }  # fmt: skip
    done = system.command("disable", "EURUSD")
    assert (done.returncode, "did you mean EUR_USD" in done.stderr) == (2, True)
    assert system.command("enable", "EUR_USD").stdout == "EUR_USD is enabled already\n"
