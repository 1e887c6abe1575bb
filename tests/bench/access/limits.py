"""Limits over several processes: one budget in Redis, and the places of a killed hub."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import socketio

from tests.bench.access.credentials import add_keys
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import web
from tests.bench.servers import PEERS, BenchError

_LIMIT, _REQUESTS = 600, 750
_CONNECTIONS = 20
_LEASE_SECONDS = 1.0  # in which a hub has written the leases of its connections
_DEADLINE_SECONDS = 60.0

SHARE = Bar("deviation of the accepted requests, %", 5.0)
PLACES = Bar("seconds from kill -9 until a place is free", 30.0)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    yield Measured(f"{_LIMIT} requests a minute, 2 processes", _accepted(place), SHARE)
    if not quick:
        yield Measured(f"{_CONNECTIONS} connections, 2 hubs", _free_place(place), PLACES)


def _accepted(place: Ground) -> float:
    """Return the deviation of the accepted requests from the limit, in percent."""
    [(_, key)] = add_keys(place, 1)
    shared = {"RATE_STORAGE": "redis", "RATE_REQUESTS": f"{_LIMIT}/m"}
    with web(place, "tickwire", shared) as (one, _), web(place, "tickwire", shared) as (other, _), ExitStack() as stack:
        connections = [stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30))) for port in (one, other)]
        accepted = sum(_status(connections[number % 2], key) == 200 for number in range(_REQUESTS))
    return abs(accepted / _LIMIT - 1) * 100


def _status(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("GET", "/sessions", headers={"X-API-Key": key})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _free_place(place: Ground) -> float:
    """Fill one hub with the connections of a key, kill it, and connect to another hub."""
    [(_, key)] = add_keys(place, 1)
    with place.server(PEERS["tickwire"]) as one, place.server(PEERS["tickwire"]) as other, ExitStack() as stack:
        for _ in range(_CONNECTIONS):
            client = _connected(one.port, key)
            if client is None:
                raise BenchError("a connection within the limit was refused")
            stack.callback(client.disconnect)
        time.sleep(_LEASE_SECONDS)
        _await_refusal(other.port, key)
        began = time.monotonic()
        one.kill()
        while (client := _connected(other.port, key)) is None:
            if time.monotonic() - began > _DEADLINE_SECONDS:
                raise BenchError("the places of a killed hub stay taken")
            time.sleep(0.1)
        seconds = time.monotonic() - began
        client.disconnect()
    return seconds


def _await_refusal(port: int, key: str) -> None:
    """Connect until the hub has read the leases of the other one, and refuses."""
    for _ in range(50):
        client = _connected(port, key)
        if client is None:
            return
        time.sleep(0.1)
        client.disconnect()
    raise BenchError("the connections of another hub do not count")


def _connected(port: int, key: str) -> socketio.Client | None:
    """Return a client that has stayed connected for 0.3 s; None if it was refused or closed."""
    client = socketio.Client(reconnection=False)
    try:
        client.connect(f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, transports=["websocket"], wait_timeout=10)
    except socketio.exceptions.ConnectionError:
        return None
    time.sleep(0.3)
    return client if client.connected else None


PART = Part("Limits over several processes", _run)
