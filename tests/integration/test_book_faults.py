"""Clients of books while the process of the books, Redis and the hub are killed during a burst."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from db.bus import Bus
from db.timestamps import utc_now
from ops import embedded
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.clients import PythonClient
from tests.support.hub_books import mirror_of
from tests.support.processes import Breakable, Web, books

NAME = "BTCUSDT"
BOOKS = [{"pair": NAME, "depth": depth} for depth in (5, 50)]
INTERVAL = {"HEARTBEAT_INTERVAL": "0.5"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Breakable]:
    with Breakable(embedded.redis(tmp_path), tmp_path) as process:
        yield process


@pytest.fixture
def config(redis: Breakable, servers: Servers, tmp_path: Path) -> Iterator[Settings]:
    with new_database(servers) as url:
        yield settings_for(url, redis.url, tmp_path)


def burst(redis: Breakable, client: PythonClient) -> None:
    """Play the recording at twenty times its speed, and wait for a client in the middle of it."""
    with closing(Bus(redis.url, utc_now)) as bus:
        fields = dict.fromkeys(("seed", "loop", "recording", "faults"))
        run_id = str(uuid.uuid4())
        bus.want_scenario({"run_id": run_id, "scenario": "stable-mode", "speed": 20, "requested": "2026-01-01T00:00:00.000000Z", **fields})
    client.wait("scenario_changed", where=lambda body: body["run_id"] == run_id)
    follows(client)


def follows(client: PythonClient, number: int = 50) -> None:
    """Wait for further updates."""
    before = len(client.bodies("book_update"))
    client.wait("book_update", before + number, seconds=30)


def own_states(client: PythonClient) -> list[dict[str, Any]]:
    """The states that the hub has made."""
    return [body for body in client.bodies("book_state") if body["seq"] is None]


def check(received: Sequence[tuple[str, Any]], name: str = NAME) -> None:
    """No update comes between the end of `live` and the next snapshot, and every checksum holds."""
    for depth in (5, 50):
        mirror_of(received, name, depth)
        waits = False
        for event, body in list(received):
            if event == "book_state":
                waits = waits or body["state"] != "live"
            elif event == "book_snapshot" and body["depth"] == depth:
                waits = False
            elif event == "book_update" and body["depth"] == depth:
                assert not waits, body["seq"]


def test_killed_books_redis_and_hub_in_a_burst(config: Settings, redis: Breakable, tmp_path: Path) -> None:
    sources = {"SOURCES": "scenario", **INTERVAL}
    with (
        books(config, tmp_path / "books.log", **sources) as process,
        Web("hub", config, tmp_path / "hub.log", **INTERVAL) as hub,
        PythonClient(hub.url) as client,
    ):
        until(lambda: client.call("subscribe", {"books": BOOKS, "heartbeat": True})["books"] == BOOKS, 30, "the book in the hub")
        burst(redis, client)

        process.kill(signal.SIGKILL)
        stale = client.wait("book_state", where=lambda body: body["seq"] is None)
        assert (stale["state"], stale["reason"], stale["epoch"]) == ("stale", "disconnected", None)
        marked = client.call("request_book", {"instrument": NAME, "depth": 50})
        assert (marked["state"], marked["reason"]) == ("stale", "disconnected")
        snapshots = len(client.bodies("book_snapshot"))
        process.start()
        client.wait("book_snapshot", snapshots + 2, seconds=60)
        assert client.call("request_book", {"instrument": NAME, "depth": 50})["state"] == "live"
        burst(redis, client)

        before = len(own_states(client))
        redis.kill(signal.SIGKILL)
        until(lambda: len(own_states(client)) > before, what="a stale book without Redis")
        snapshots = len(client.bodies("book_snapshot"))
        redis.start()
        client.wait("book_snapshot", snapshots + 2, seconds=60)
        burst(redis, client)
        check(client.received)
        assert len(client.bodies("connection_established")) == 1

        hub.kill(signal.SIGKILL)
        hub.start()
        with PythonClient(hub.url) as again:
            body = again.call("subscribe", {"books": BOOKS, "heartbeat": True})
            assert [each["depth"] for each in body["book_snapshot"]] == [5, 50]
            burst(redis, again)
            check(again.received)
