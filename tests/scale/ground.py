"""The hosts of `make scale`: h1 to h8 for hubs, r1 to r3 for Redis, p1 for the clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import redis as redis_client

from db import migrate
from db.bus import PLAIN, Bus, BusSetup
from db.timestamps import utc_now
from ops import embedded
from ops.children import kill_group, spawn, tail
from ops.embedded.redis import program
from ops.supervisor import Supervisor
from tests.bench.access.credentials import UNLIMITED
from tests.bench.cores import Cores
from tests.bench.servers import PEERS, BenchError, Server
from tests.support.namespaces import Host, Network

HUB_HOSTS = tuple(f"h{number}" for number in range(1, 9))
REDIS_HOSTS = ("r1", "r2", "r3")
CLIENT_HOST = "p1"
HUB_PORT, REDIS_PORT = 5001, 6379
_START_SECONDS = 120.0
_MOST_CLIENTS = 5000


@dataclass(frozen=True, slots=True)
class RedisNode:
    """A running Redis on a host of its own."""

    address: str
    server: Server

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{REDIS_PORT}/0"

    def client(self) -> redis_client.Redis:
        """Return a client with every right."""
        return redis_client.Redis.from_url(self.url, protocol=2)


@dataclass(frozen=True, slots=True)
class Ground:
    """The network with PostgreSQL; parts start Redis and hubs on it."""

    network: Network
    cores: Cores
    database_url: str  # as the hosts reach it
    folder: Path
    instruments: tuple[str, ...]
    before: Path | None  # another checkout, to compare with

    @property
    def clients(self) -> Host:
        """The host of the load generator."""
        return self.network.hosts[CLIENT_HOST]

    @contextmanager
    def redis(self, host: str = "r1", *options: str) -> Iterator[RedisNode]:
        """Start Redis, empty, with further options; it syncs each write as in production."""
        place, port = self.network.hosts[host], str(REDIS_PORT)
        with tempfile.TemporaryDirectory(dir=self.folder) as data:
            argv = place.argv(
                shutil.which("redis-server") or str(program()), "--port", port, "--bind", place.address, "--protected-mode", "no",
                "--dir", data, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
                "--client-output-buffer-limit", "pubsub 256mb 64mb 60", *options,
            )  # fmt: skip
            with _process(argv, {}, self.folder / f"{host}.log") as pid:
                node = RedisNode(place.address, Server(PEERS["tickwire"], REDIS_PORT, pid))
                with node.client() as client:
                    _until(lambda: _answers(client), f"Redis on {host}", self.folder / f"{host}.log")
                yield node

    @contextmanager
    def hub(self, host: str, redis_url: str, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
        """Start a hub and wait until it serves and relays."""
        place, log = self.network.hosts[host], self.folder / f"{host}.log"
        variables = {
            "DATABASE_URL": self.database_url, "REDIS_URL": redis_url, "HUB_DATA_DIR": str(self.folder / host), "SOURCES": "",
            "WEBSOCKET_HOST": place.address, "WEBSOCKET_PORT": str(HUB_PORT), "WEBSOCKET_MAX_CLIENTS": str(_MOST_CLIENTS),
            "AUTH": "off", "AUTH_ALLOW_OPEN": "true", **UNLIMITED, **(environ or {}),
        }  # fmt: skip
        peer = PEERS["tickwire"]
        with ExitStack() as stack:
            with self.cores.of_server():
                pid = stack.enter_context(_process(place.argv(*peer.argv(HUB_PORT)), variables, log))
            _until(lambda: _is_ready(f"http://{place.address}:{HUB_PORT}/hub/health"), f"the hub on {host}", log)
            server = Server(peer, HUB_PORT, pid)
            server.find_processes()
            yield server

    @contextmanager
    def bus(self, url: str, setup: BusSetup = PLAIN) -> Iterator[Bus]:
        """Connect to the bus of a node, with all instruments."""
        with contextlib.closing(Bus(url, utc_now, setup=setup)) as bus:
            bus.set_instruments(dict.fromkeys(self.instruments, "fx"))
            yield bus

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return self.network.hosts[host].address


@contextmanager
def ground(before: Path | None) -> Iterator[Ground]:
    """Make the network and start PostgreSQL. Raises `NetworkError` without the right to."""
    with ExitStack() as stack:
        cores = Cores(pin=True)
        stack.callback(cores.restore)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickwire-scale-")))
        network = stack.enter_context(Network())
        for name in (*HUB_HOSTS, *REDIS_HOSTS, CLIENT_HOST):
            network.add(name)
        supervisor = stack.enter_context(Supervisor())
        postgres = embedded.postgres(folder)
        supervisor.start(postgres)
        migrate.apply(postgres.url)
        parts = urlsplit(postgres.url)
        port = stack.enter_context(forwarder(network.address, parts.port or 5432))
        credentials, _, _ = parts.netloc.rpartition("@")
        url = urlunsplit(parts._replace(netloc=f"{credentials}@{network.address}:{port}"))
        yield Ground(network, cores, url, folder, _instruments(postgres.url), before)


def _instruments(database_url: str) -> tuple[str, ...]:
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT symbol FROM instruments WHERE kind = 'fx' ORDER BY symbol")
        return tuple(symbol for (symbol,) in cursor.fetchall())


@contextmanager
def _process(argv: tuple[str, ...], environ: Mapping[str, str], log: Path) -> Iterator[int]:
    popen = spawn(argv, env={**os.environ, **environ}, log_file=log, inherit=(), death_signal=Signals.SIGKILL)
    try:
        yield popen.pid
    finally:
        kill_group(popen.pid)
        popen.wait()


def _until(condition: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} does not start{tail(log)}")
        time.sleep(0.05)


def _answers(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.RedisError:
        return False


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (our own URL)
            return bool(response.status == 200)
    except OSError:
        return False


class _Forward(socketserver.BaseRequestHandler):
    """Passes the bytes of a connection on to a port of 127.0.0.1, and back."""

    port = 0

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as other:
            back = threading.Thread(target=_copy, args=(other, self.request), daemon=True)
            back.start()
            _copy(self.request, other)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def forwarder(address: str, port: int) -> Iterator[int]:
    """Let the hosts reach a port of this machine's loopback: PostgreSQL listens there alone."""
    handler = type("Forward", (_Forward,), {"port": port})
    with socketserver.ThreadingTCPServer((address, 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
