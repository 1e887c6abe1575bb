"""`manage.py up` with more than one hub process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.bus import Bus
from ops import running
from tests.conftest import until
from tests.support.clients import NodeClient, PythonClient
from tests.support.ports import two_free_ports
from tests.support.up import PROCESSES, Environment, Up, all_gone, copy_data, family, make_data, manage, starter


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a migrated database."""
    return make_data(tmp_path_factory.mktemp("data") / "var")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Two hubs, on a free port and the one after it."""
    environment = Environment(tmp_path / "var")
    environment.update(HUB_WORKERS="2", WEBSOCKET_PORT=str(two_free_ports()))
    return environment


@pytest.fixture
def up(data: Path, environment: Environment, tmp_path: Path) -> Iterator[Up]:
    """A running system on a copy of the data."""
    copy_data(data, Path(environment["HUB_DATA_DIR"]))
    with starter(environment, tmp_path) as start:
        yield start().ready()


def publish(bus: Bus, count: int) -> None:
    for _ in range(count):
        bus.cache_price("EUR_USD", bid="1.1", ask="1.3", mid="1.2", time=datetime(2025, 11, 18, tzinfo=UTC))


@pytest.mark.slow
def test_two_hubs_serve_the_same_messages_and_each_is_restarted(up: Up, environment: Environment) -> None:
    port = int(environment["WEBSOCKET_PORT"])
    first, second = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
    line, _ = up.out.read_text().splitlines()
    assert line == f"ready: REST http://127.0.0.1:{environment['API_PORT']} hub {first} {second}"
    before = up.run
    assert (before["hub"], set(before["pids"])) == (first, PROCESSES | {"hub_2"})
    assert set(before) == {"rest", "hub", "database_url", "redis_url", "pids"}
    bus = Bus(before["redis_url"], lambda: datetime.now(UTC))
    bus.set_instruments({"EUR_USD": "fx"})  # as the jobs process does soon
    with NodeClient(first) as one:
        with PythonClient(second) as other:
            for client in (one, other):
                client.wait("connection_established")
                client.call("subscribe", {"pairs": "EUR_USD"})
            publish(bus, 10)
            for client in (one, other):
                client.wait("price_update", 10)
            assert one.bodies("price_update") == other.bodies("price_update")
            os.kill(before["pids"]["hub_2"], signal.SIGKILL)
            other.wait("disconnect")
        until(lambda: up.run["pids"].get("hub_2", before["pids"]["hub_2"]) != before["pids"]["hub_2"], 30, "the new pid in run.json")
        until(lambda: running.answers(second, "/hub/health"), 30, "the second hub's health")
        assert "child ended, restarting child=hub_2" in up.errors.read_text()
        assert {**up.run["pids"], "hub_2": 0} == {**before["pids"], "hub_2": 0}
        with PythonClient(second) as again:
            publish(bus, 5)
            one.wait("price_update", 15)
            price = until(lambda: (body := again.call("request_price", {"instrument": "EUR_USD"})).get("seq") == 15 and body)
            assert one.bodies("price_update")[-1] == price
        assert not one.bodies("disconnect")
    bus.close()


@pytest.mark.slow
def test_status_and_stop_of_two_hubs_include_both(up: Up, environment: Environment) -> None:
    assert "hub_2" in manage(environment, "status").stdout
    processes = family(up)
    with NodeClient(f"http://127.0.0.1:{int(environment['WEBSOCKET_PORT']) + 1}", reconnection=False) as client:
        client.wait("connection_established")
        assert up.end(signal.SIGTERM) == 0
        assert client.wait("error")["code"] == "unavailable"
    assert all_gone(processes)


def test_port_of_a_further_hub_in_use_is_refused_before_anything_starts(environment: Environment) -> None:
    second = int(environment["WEBSOCKET_PORT"]) + 1
    with socket.create_server(("127.0.0.1", second)):
        done = manage(environment, "up")
    assert done.returncode == 2
    assert f"WEBSOCKET_PORT: port {second} on 127.0.0.1 is in use" in done.stderr
    assert not (Path(environment["HUB_DATA_DIR"]) / "postgres").exists()
