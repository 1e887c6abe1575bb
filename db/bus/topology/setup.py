"""The setup of the bus: mode, seeds, shards, confirmation of batches, TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, parse_url
from redis.retry import Retry

SINGLE, CLUSTER, SENTINEL = "single", "cluster", "sentinel"
MODES = (SINGLE, CLUSTER, SENTINEL)
CLASSIC, SHARDED, BOTH = "classic", "sharded", "both"  # channels


@dataclass(frozen=True, slots=True)
class BusSetup:
    """The settings of the bus, the same in all processes.

    `seeds` are URLs of nodes of a cluster or of sentinels; empty: the URL of the bus alone.
    `failover` is True if a replica may take the place of a master: then each shard has a new epoch
    after it. `wait_replicas` replicas confirm a batch within `wait_ms`, 0 for none; with `strict` a
    batch is refused while no replica is connected.
    """

    mode: str = SINGLE
    seeds: tuple[str, ...] = field(default=(), repr=False)
    shards: int = 1
    failover: bool = False
    wait_replicas: int = 0
    wait_ms: int = 200
    strict: bool = False
    channels: str = CLASSIC
    sentinel_master: str = "tickwire"
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


PLAIN = BusSetup()  # one Redis, one shard

# Called with each new connection, after its login.
OnConnect = Callable[[Any], None]


def connection_options(url: str, setup: BusSetup, timeout: float) -> dict[str, Any]:
    """The arguments of a connection of redis-py to `url`. Raises `ValueError` for a bad URL.

    A query in the URL cannot switch the checks of certificates off.
    """
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "driver_info": None,  # no CLIENT SETINFO, which our user may not send
        # The caller decides about a repeat: only a `batch_id` makes it safe.
        "retry": Retry(NoBackoff(), 0),
    }
    options |= parse_url(url)  # type: ignore[no-untyped-call]
    if options.get("connection_class") is SSLConnection:
        options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        files = {"ssl_ca_certs": setup.tls_ca, "ssl_certfile": setup.tls_cert, "ssl_keyfile": setup.tls_key}
        options |= {name: file for name, file in files.items() if file is not None}
    return options


def client_of(options: dict[str, Any], on_connect: OnConnect | None) -> Any:
    """A client with a pool of its own for these connections; `on_connect` prepares each of them."""
    is_tls = options.get("connection_class") is SSLConnection
    if on_connect is not None or is_tls:

        def prepare(connection: Any) -> None:
            if is_tls:
                _end_handshake(connection._sock)
            connection.on_connect()
            if on_connect is not None:
                on_connect(connection)

        options = {**options, "redis_connect_func": prepare}
    return redis.Redis.from_pool(redis.ConnectionPool(**options))


def _end_handshake(sock: socket.socket) -> None:
    """Exchange a PING, so that the tickets of TLS 1.3 are read, which follow the handshake.

    redis-py takes a connection with unread data for a broken one. A server that refuses our
    certificate closes the connection; only a read shows its reason.
    """
    with suppress(OSError):
        sock.sendall(b"*1\r\n$4\r\nPING\r\n")
    try:
        answer = sock.recv(4096)  # the answer, also if it is an error before the login
    except OSError as error:
        raise redis.ConnectionError(str(error)) from error
    if not answer:
        raise redis.ConnectionError("the connection was closed after the handshake of TLS")


def request(options: dict[str, Any], *words: str) -> Any:
    """The answer to one command on a connection of its own; raises `redis.RedisError`."""
    options = dict(options)
    connection: Any = options.pop("connection_class", redis.Connection)(**options)
    try:
        connection.connect()
        connection.send_command(*words, check_health=False)
        return connection.read_response()
    finally:
        connection.disconnect()
