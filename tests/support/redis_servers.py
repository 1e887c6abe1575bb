"""Redis servers of tests that are Debian's: single ones, clusters, replicas, sentinels."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from db.shards import SLOTS
from tests.support.polling import until
from tests.support.ports import free_cluster_port

FIRST_CLUSTER_VERSION = 7


def require_redis() -> str:
    """The path of a redis-server that can be a cluster; skips the test without one."""
    path = shutil.which("redis-server")
    if path is None:
        pytest.skip("redis-server is not installed")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)", version)
    if found is None or int(found[1]) < FIRST_CLUSTER_VERSION:
        pytest.skip(f"redis-server {FIRST_CLUSTER_VERSION} is needed: {version.strip()}")
    return path


_QUICK = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}


class RedisServer:
    """One redis-server, or a sentinel. `argv` runs a command line, on another host if need be."""

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, str] = {},
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        argv: Callable[..., Sequence[str]] = lambda *words: words,
        sentinel: bool = False,
    ) -> None:
        self.folder, self.host, self.port = folder, host, port or free_cluster_port()
        self._argv, self._sentinel = argv, sentinel
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)
        chosen = {"bind": host, "port": str(self.port), "dir": str(folder), "save": '""', "protected-mode": "no", **_QUICK, **options}
        (folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in chosen.items()))

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self, options: Mapping[str, Any] = {}) -> RedisServer:
        """Start it and wait until it answers; `options` are for the client that asks."""
        words = [require_redis(), str(self.folder / "redis.conf"), *(["--sentinel"] if self._sentinel else [])]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(self._argv(*words), stdout=log, stderr=log)

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()[-2000:]
            with suppress(redis_client.RedisError), self.client(**options) as client:
                return bool(client.ping())
            return False

        until(answers, 20, "the start of Redis")
        return self

    def client(self, **options: Any) -> redis_client.Redis:
        """A client with every right."""
        return redis_client.Redis(host=self.host, port=self.port, protocol=2, socket_timeout=60, socket_connect_timeout=60, **options)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def running(*servers: RedisServer) -> Iterator[None]:
    """End the servers after the block."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
        yield


class Cluster:
    """A Redis Cluster: masters with equal shares of the slots, and replicas of each."""

    def __init__(
        self,
        masters: Sequence[RedisServer],
        replicas: Sequence[Sequence[RedisServer]] = (),
        client_options: Mapping[str, Any] = {},
    ) -> None:
        self.masters, self.replicas = list(masters), [list(each) for each in replicas]
        self._options = client_options

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.masters, *(server for each in self.replicas for server in each)]

    @property
    def seeds(self) -> str:
        """The value of REDIS_URL."""
        return ",".join(server.url for server in self.masters)

    def form(self) -> None:
        """Join the servers, and wait until each accepts commands."""
        for number, server in enumerate(self.masters):
            with server.client(**self._options) as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                first, behind = (SLOTS * each // len(self.masters) for each in (number, number + 1))
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, behind - 1)
        with self.masters[0].client(**self._options) as client:
            for server in self.servers[1:]:
                client.execute_command("CLUSTER MEET", server.host, server.port)
        until(lambda: all(self._state(server)["cluster_known_nodes"] == str(len(self.servers)) for server in self.servers), 20, "meeting")
        for master, replicas in zip(self.masters, self.replicas, strict=False):
            for replica in replicas:
                with replica.client(**self._options) as client:
                    client.execute_command("CLUSTER REPLICATE", self.id_of(master))
        until(lambda: all(self._state(server)["cluster_state"] == "ok" for server in self.servers), 30, "a cluster in order")
        for replicas in self.replicas:
            for replica in replicas:
                until(lambda replica=replica: _replicates(replica), 30, "replication")  # type: ignore[misc]

        until(lambda: all(self._lists_replicas(server) for server in self.servers), 30, "replicas in the answers of every node")

    def _lists_replicas(self, server: RedisServer) -> bool:
        with server.client(**self._options) as client:
            shares: Any = client.execute_command("CLUSTER SLOTS")
        found = {master[1]: {replica[1] for replica in replicas} for _, _, master, *replicas in shares}
        wanted = {master.port: set[int]() for master in self.masters}
        wanted |= {master.port: {each.port for each in mine} for master, mine in zip(self.masters, self.replicas, strict=False)}
        return found == wanted

    def id_of(self, server: RedisServer) -> str:
        """The id of a node."""
        with server.client(**self._options) as client:
            found: Any = client.execute_command("CLUSTER MYID")
        return found.decode() if isinstance(found, bytes) else str(found)

    def _state(self, server: RedisServer) -> dict[str, str]:
        with server.client(**self._options) as client:
            found: Any = client.execute_command("CLUSTER INFO")
        return {str(name): str(value) for name, value in found.items()}


def _replicates(server: RedisServer) -> bool:
    with server.client() as client:
        info: Any = client.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


CLUSTER_OPTIONS = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-require-full-coverage": "no"}


@contextmanager
def new_cluster(folder: Path, masters: int = 3, replicas: int = 0, options: Mapping[str, str] = {}) -> Iterator[Cluster]:
    """Yield a cluster on this machine; skips the test without a Redis for it."""
    require_redis()
    chosen = {**CLUSTER_OPTIONS, **options}

    def server(name: str) -> RedisServer:
        return RedisServer(folder / name, chosen)

    cluster = Cluster(
        [server(f"m{number}") for number in range(masters)],
        [[server(f"r{number}-{each}") for each in range(replicas)] for number in range(masters)] if replicas else (),
    )
    with running(*cluster.servers):
        for each in cluster.servers:
            each.start()
        cluster.form()
        yield cluster
