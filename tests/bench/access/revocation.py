"""The time from a revocation, or an expiry, to the last closed connection and to 401 at REST."""

from __future__ import annotations

import contextlib
import http.client
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from signal import SIGCONT, SIGSTOP

import redis as redis_client

from db import topics
from db.access_changes import lock_access
from db.api_keys import revoke_key
from db.postgres import Store
from db.timestamps import utc_now
from tests.bench.access.credentials import SYMMETRIC, UNLIMITED, add_keys, announce, token_settings, tokens
from tests.bench.bars import Bar, Measured, Part
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.reads import web
from tests.bench.servers import PEERS, BenchError

_CONNECTIONS, _EXPIRING = 1_000, 50
_LIFE_SECONDS, _LEEWAY_SECONDS = 6.0, 1.0  # of the tokens that expire; the leeway is that of `token_settings`
_DEADLINE_SECONDS = 60.0

MESSAGE = Bar("seconds to the end of all connections on 2 hubs, and 401 at REST", 2.0)
AWAY = Bar("the same ", 35.0)
EXPIRY = Bar("seconds from `exp` + leeway to the last close", 2.0)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    extra = {**UNLIMITED, **token_settings(SYMMETRIC, place.folder)}
    peer = PEERS["tickwire"]
    with place.server(peer, extra) as one, place.server(peer, extra) as other, web(place, "tickwire", UNLIMITED) as (rest, _):
        ports = (one.port, other.port)
        yield Measured(f"{_CONNECTIONS} connections", _revoke(place, ports, rest, announce), MESSAGE)
        yield Measured("the message is lost", _revoke(place, ports, rest, _count_alone), MESSAGE)
        if not quick:
            yield Measured("Redis is away", _revoke(place, ports, rest, _not_at_all, without_redis=True), AWAY)
        yield Measured(f"{_EXPIRING} tokens that expire", _expire(one.port), EXPIRY)


def _count_alone(place: Ground, changed: int) -> None:
    with redis_client.Redis.from_url(place.operator_url, protocol=2) as client:
        client.set(topics.ACCESS_COUNTER, changed)


def _not_at_all(_place: Ground, _changed: int) -> None:
    pass


def _revoke(
    place: Ground, ports: tuple[int, int], rest: int, signal: Callable[[Ground, int], None], *, without_redis: bool = False
) -> float:
    """Revoke the key of all connections; return the seconds until it has no effect any more."""
    [(key_id, key)] = add_keys(place, 1)
    _until(lambda: _status(rest, key) == 200)
    with LoadGenerator() as load, contextlib.ExitStack() as stack:
        load.connect([Plan(ports[number % 2], "socketio", greeting=True, credential=key) for number in range(_CONNECTIONS)])
        load.command("begin")
        if without_redis:
            os.kill(place.redis_pid, SIGSTOP)
            stack.callback(os.kill, place.redis_pid, SIGCONT)
        with closing(Store(place.database_url, pool_max=1)) as store, store.transaction() as cursor:
            lock_access(cursor)
            changed = revoke_key(cursor, key_id, utc_now())
        began = time.monotonic()
        signal(place, changed)
        _until(lambda: _connected(load) == 0)
        _until(lambda: _status(rest, key) == 401)
        return time.monotonic() - began


def _expire(port: int) -> float:
    due = time.time() + _LIFE_SECONDS + _LEEWAY_SECONDS
    made = tokens(SYMMETRIC, _EXPIRING, _LIFE_SECONDS)
    with LoadGenerator() as load:
        load.connect([Plan(port, "socketio", greeting=True, credential=each) for each in made])
        load.command("begin")
        _until(lambda: _connected(load) == 0)
    return time.time() - due


def _connected(load: LoadGenerator) -> int:
    return int(load.command("report")["clients"])


def _status(port: int, key: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/sessions", headers={"X-API-Key": key})
        return connection.getresponse().status


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError("the revocation or the expiry has no effect")
        time.sleep(0.01)


PART = Part("Revocation and expiry", _run)
