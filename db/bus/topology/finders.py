"""Finding the servers of the bus: `CLUSTER SLOTS` of a cluster, or the sentinels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis
from redis.exceptions import AuthenticationError

from db.bus.topology.setup import BusSetup, connection_options, request
from db.shards import SLOTS

ATTEMPT_SECONDS = 1.0  # of one question to one server
_SENTINEL_PORT = 26379


class Address(NamedTuple):
    """The host and the port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Share(NamedTuple):
    """The slots from `first` to `last`, both included, their master and its replicas."""

    first: int
    last: int
    master: Address
    replicas: tuple[Address, ...] = ()


class Finder(ABC):
    """A way to find the servers, which begins at the seeds of the setup.

    Each search begins at another server, so that one with an outdated view is not the first one for
    ever.
    """

    def __init__(self, seeds: Sequence[str], setup: BusSetup) -> None:
        self._seeds = [connection_options(seed, setup, ATTEMPT_SECONDS) for seed in seeds]
        self._turn = 0

    @abstractmethod
    def find(self) -> list[Share]:
        """The present shares of the slots. Raises `redis.RedisError` if no server answers."""

    def options(self, address: Address, timeout: float) -> dict[str, Any]:
        """The arguments of a connection to the server at `address`, with the seeds' login."""
        times = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        return {**self._seeds[0], **times, "host": address.host, "port": address.port}

    def _turned(self, options: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._turn += 1
        middle = self._turn % len(options) if options else 0
        return options[middle:] + options[:middle]


class ClusterFinder(Finder):
    """A Redis Cluster. The nodes that are known are asked first, then the seeds."""

    _known: tuple[Address, ...] = ()

    def find(self) -> list[Share]:
        known = [self.options(address, ATTEMPT_SECONDS) for address in self._known]
        error = redis.ConnectionError("the cluster has no slots")
        for options in [*self._turned(known), *self._seeds]:
            try:
                shares = sorted(_shares(request(options, "CLUSTER", "SLOTS"), options["host"]))
            except redis.RedisError as each:
                error = redis.ConnectionError(f"{options['host']}:{options.get('port', 6379)}: {each}")
                continue
            if shares:
                self._known = tuple(dict.fromkeys(address for share in shares for address in (share.master, *share.replicas)))
                return shares
        raise error


class SentinelFinder(Finder):
    """The master of the setup, as the sentinels name it.

    The user and the password of the seeds are those of the master. A sentinel without a password
    gets none.
    """

    def __init__(self, seeds: Sequence[str], setup: BusSetup) -> None:
        super().__init__(seeds, setup)
        self._master = setup.sentinel_master

    def find(self) -> list[Share]:
        error = redis.ConnectionError("no sentinel answers")
        for seed in self._turned(self._seeds):
            options = {"port": _SENTINEL_PORT, **seed, "db": 0}
            place = f"sentinel {options['host']}:{options['port']}"
            try:
                found = self._ask(options)
            except redis.RedisError as each:
                error = redis.ConnectionError(f"{place}: {each}")
                continue
            if found is not None:
                return [Share(0, SLOTS - 1, Address(found[0].decode(), int(found[1])))]
            error = redis.ConnectionError(f"{place} has no master named {self._master}: REDIS_SENTINEL_MASTER is its name at the sentinels")
        raise error

    def _ask(self, options: dict[str, Any]) -> Any:
        words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        try:
            return request(options, *words)
        except AuthenticationError as error:
            if "without any password" not in str(error):
                raise
            return request({**options, "username": None, "password": None}, *words)


def _shares(answer: Sequence[Any], asked: str) -> Iterable[Share]:
    """The shares of an answer to CLUSTER SLOTS; a node without a host name has that of `asked`."""
    for first, last, *nodes in answer:
        master, *replicas = [Address((host or b"").decode() or asked, int(port)) for host, port, *_ in nodes]
        yield Share(int(first), int(last), master, tuple(replicas))
