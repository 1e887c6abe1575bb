"""Limits of a caller at real hubs: connections of a key over all hubs, events of its sessions."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import socketio

from config.access.keys import digest_of, new_key
from config.settings import Settings
from db import topics
from db.access_changes import lock_access
from db.api_keys import ApiKey, insert_key
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import Servers, until
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.servers import of_database

LIMIT = 20


def add_key(settings: Settings, *, connections: int | None = None, events: str | None = None) -> tuple[str, str]:
    """Insert a key; return its id and the key."""
    key_id, text = new_key()
    with closing(Store(str(settings.database_url), pool_max=1)) as store, store.transaction() as cursor:
        lock_access(cursor)
        insert_key(
            cursor, ApiKey(key_id, "limited", digest_of(text), ("read", "observe"), ("*",), (), None, events, connections, utc_now(), "ada")
        )
    return key_id, text


@pytest.fixture(scope="module")
def keys(shared_settings: Settings) -> dict[str, tuple[str, str]]:
    """Name -> (id, key), inserted before the hubs read the keys."""
    return {
        "default": add_key(shared_settings),
        "default by auth": add_key(shared_settings),
        "three": add_key(shared_settings, connections=3),
        "killed": add_key(shared_settings, connections=2),
        "slow": add_key(shared_settings, events="1/m"),
    }


@pytest.fixture(scope="module")
def shared_hub(keys: dict[str, tuple[str, str]], shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web("hub", shared_settings, tmp_path_factory.mktemp("hub") / "hub.log") as process:
        yield process


@pytest.fixture(scope="module")
def other_hub(shared_hub: Web, shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web("hub", shared_settings, tmp_path_factory.mktemp("hub") / "other.log") as process:
        yield process


@pytest.fixture(scope="module")
def redis(servers: Servers) -> Iterator[redis_client.Redis]:
    with redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2) as client:
        yield client


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(stack: ExitStack, hub: Web, key: str, auth: Any = None) -> socketio.Client:
    """Connect with the key in a header, or in `auth`; the client ends with the stack."""
    client = socketio.Client(reconnection=False)
    client.connect(hub.url, headers={} if auth else {"X-API-Key": key}, auth=auth, transports=["websocket"], wait_timeout=60)
    stack.callback(client.disconnect)
    return client


def handshake(hub: Web, key: str) -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(f"{hub.url}/socket.io/?EIO=4&transport=polling", headers={"X-API-Key": key})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def leases(redis: redis_client.Redis, key_id: str) -> int:
    return int(redis.zcard(topics.connections_key(key_id)))


def test_connection_21_of_a_key_is_refused_at_the_handshake(shared_hub: Web, keys: dict[str, tuple[str, str]], stack: ExitStack) -> None:
    _, key = keys["default"]
    clients = [connected(stack, shared_hub, key) for _ in range(LIMIT)]
    status, headers, body = handshake(shared_hub, key)
    assert (status, body["error"]["code"]) == (429, "too_many_requests")
    assert body["error"]["details"]["max_connections"] == LIMIT
    assert int(headers["Retry-After"]) >= 1
    clients[3].disconnect()
    until(lambda: handshake(shared_hub, key)[0] == 200)


def test_connection_21_of_a_key_is_refused_at_connect(shared_hub: Web, keys: dict[str, tuple[str, str]], stack: ExitStack) -> None:
    _, key = keys["default by auth"]
    for _ in range(LIMIT):
        connected(stack, shared_hub, key, {"api_key": key})
    refused: list[Any] = []
    client = socketio.Client(reconnection=False)
    client.on("connect_error", refused.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(shared_hub.url, auth={"api_key": key}, transports=["websocket"], wait_timeout=60)
    client.disconnect()
    assert [refused[0]["message"], refused[0]["data"]["event"]] == ["too_many_requests", "connect"]
    assert refused[0]["data"]["details"]["max_connections"] == LIMIT


def test_places_of_a_killed_hub_are_free_within_30_seconds(
    shared_hub: Web,
    other_hub: Web,
    keys: dict[str, tuple[str, str]],
    shared_settings: Settings,
    redis: redis_client.Redis,
    tmp_path: Path,
    stack: ExitStack,
) -> None:
    key_id, key = keys["killed"]
    with Web("hub", shared_settings, tmp_path / "hub.log") as killed:
        for _ in range(2):
            connected(stack, killed, key)
        until(lambda: leases(redis, key_id) == 2)
        killed.kill()
    refused_for_its_place(other_hub, key)
    held: dict[str, float] = dict(redis.zrange(topics.connections_key(key_id), 0, -1, withscores=True))  # type: ignore[arg-type]
    seconds, _ = redis.time()
    # No hub renews them: they end by the clock of Redis. The benchmark waits for the end itself.
    assert all(0 < expiry - 1000 * seconds <= 31_000 for expiry in held.values())  # of a part of a second
    redis.zadd(topics.connections_key(key_id), {member: expiry - 30_000 for member, expiry in held.items()})
    client = connected(stack, shared_hub, key)
    until(lambda: leases(redis, key_id) == 1)  # the new one: it removes those that have expired
    assert client.call("ping", {"timestamp": 1}, timeout=60)["timestamp"] == 1


def test_connections_count_over_all_hubs(
    shared_hub: Web, other_hub: Web, keys: dict[str, tuple[str, str]], redis: redis_client.Redis, stack: ExitStack
) -> None:
    key_id, key = keys["three"]
    first = connected(stack, shared_hub, key)
    connected(stack, shared_hub, key)
    until(lambda: leases(redis, key_id) == 2)
    connected(stack, other_hub, key)
    until(lambda: leases(redis, key_id) == 3)
    assert 0 < redis.pttl(topics.connections_key(key_id)) <= 30_000
    # The other hub has read the leases when it added its own.
    assert handshake(other_hub, key)[0] == 429
    assert refused_for_its_place(shared_hub, key)["max_connections"] == 3
    until(lambda: handshake(shared_hub, key)[0] == 429)
    assert leases(redis, key_id) == 3
    first.disconnect()
    until(lambda: leases(redis, key_id) == 2)
    until(lambda: handshake(other_hub, key)[0] == 200)
    # The last test of this hub stops it.
    assert other_hub.ask_to_stop() == 0
    assert leases(redis, key_id) == 1  # a hub that stops returns its places, long before they expire


def refused_for_its_place(hub: Web, key: str) -> Any:
    """Connect to a hub that knows of fewer connections than exist; return the details of its error.

    A hub that has not read the leases accepts the client, and closes it when it finds no place. A
    hub that has just read them, at a renewal, refuses CONNECT.
    """
    surplus = PythonClient(hub.url)
    with suppress(socketio.exceptions.ConnectionError):
        surplus._client.connect(hub.url, auth={"api_key": key}, transports=["websocket"], wait_timeout=60)
    until(lambda: surplus.bodies("connect_error") or surplus.bodies("error"))
    refused = surplus.bodies("connect_error")
    body = refused[0]["data"] if refused else surplus.wait("error")
    assert (body["code"], body["event"]) == ("too_many_requests", "connect" if refused else "disconnect")
    until(lambda: not surplus._client.connected)
    return body["details"]


def test_sessions_of_a_key_share_its_events(shared_hub: Web, keys: dict[str, tuple[str, str]]) -> None:
    _, key = keys["slow"]  # four at once
    one, other = PythonClient(shared_hub.url), PythonClient(shared_hub.url)
    for client in (one, other):
        client.connect({"api_key": key})
    try:
        for client in (one, other):
            assert [client.call("ping", {"timestamp": 1})["timestamp"] for _ in range(2)] == [1] * 2
        refused = one.call("ping", {"timestamp": 1})
        assert (refused["code"], refused["details"]["retry_after"]) == ("too_many_requests", pytest.approx(60, abs=30))
        assert other.call("ping", {"timestamp": 1})["code"] == "too_many_requests"
    finally:
        for client in (one, other):
            client.__exit__(None, None, None)
