"""Scripts on the nodes of the bus, in one round trip, and the replicas that confirm them.

Every node gets one pipeline: the scripts of its shards, then one `WAIT`. `WAIT` counts for the
writes of its own connection only: on a connection that wrote nothing it returns at once, also if
no replica has the message.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import redis

from db.bus.errors import BusUnreplicated
from db.bus.nodes import Node, Nodes
from db.bus.topology.setup import BusSetup

log = logging.getLogger(__name__)

# One run of a script: its KEYS and its ARGV.
ScriptCall = tuple[Sequence[str], Sequence[str | bytes | int]]

# Stands in the ARGV of a script for the owner of the node that runs it.
OWNER = b"\0owner"
_OWNER_WITHIN = 16  # arguments
RUN_ID = "tickwire_run_id"  # attribute of a connection: the `run_id` of its server
ALONE_SECONDS = 5.0  # without a connected replica, until batches are accepted without confirmation


@cache
def sha_of(script: str) -> str:
    """The name under which Redis keeps a loaded script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


class NodesAlone:
    """The nodes without a connected replica, as the buses of a process have seen them.

    A node that has been alone for `ALONE_SECONDS` accepts batches without confirmation, until a
    replica is connected. Safe to share between threads.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}  # address -> time of the first look without a replica
        self._accepting: set[str] = set()

    @property
    def accepting(self) -> frozenset[str]:
        """The addresses of the nodes that accept batches without confirmation now."""
        with self._lock:
            return frozenset(self._accepting)

    def note(self, address: str, *, alone: bool) -> bool:
        """Note a look at a node; return True if it accepts batches without confirmation."""
        with self._lock:
            if alone:
                began = self._since.setdefault(address, now := self._monotonic())
                accepts = now - began >= ALONE_SECONDS
            else:
                self._since.pop(address, None)
                accepts = False
            before = address in self._accepting
            (self._accepting.add if accepts else self._accepting.discard)(address)
        if accepts and not before:
            log.warning("no replica is connected: batches are accepted without confirmation", extra={"address": address})
        if before and not accepts:
            log.info("recovered: a replica is connected, and batches need its confirmation again", extra={"address": address})
        return accepts

    def forget(self, address: str) -> None:
        """Forget a node that takes no batches any more."""
        with self._lock:
            self._since.pop(address, None)
            accepted = address in self._accepting
            self._accepting.discard(address)
        if accepted:
            log.info("recovered: the server without a replica takes no batches any more", extra={"address": address})


class Confirmation:
    """Runs scripts on the nodes of their keys. Safe to share between threads.

    `unreplicated` is called for each batch of a node that was accepted without confirmation.
    """

    def __init__(self, nodes: Nodes, setup: BusSetup, unreplicated: Callable[[], None], nodes_alone: NodesAlone) -> None:
        self._nodes = nodes
        self._setup = setup
        self._unreplicated = unreplicated
        self.nodes_alone = nodes_alone

    def run(self, script: str, calls: Sequence[ScriptCall], *, confirmed: bool) -> list[Any]:
        """The answers of the script to each call. Raises `redis.RedisError`.

        With `confirmed`, raises `BusUnreplicated` if fewer replicas than the setup names have the
        effects of the calls.
        """
        replicas = self._setup.wait_replicas if confirmed else 0
        answers: list[Any] = [None] * len(calls)
        try:
            places: dict[Node, list[int]] = {}
            for place, (keys, _) in enumerate(calls):
                places.setdefault(self._nodes.of(keys[0]), []).append(place)
            exchanges = [_Exchange(node, mine) for node, mine in places.items()]
            self._exchange(exchanges, script, calls, replicas, answers)
            if missing := [place for place, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]:
                for node in places:
                    node.client.script_load(script)
                for place, answer in zip(missing, self.run(script, [calls[place] for place in missing], confirmed=confirmed), strict=True):
                    answers[place] = answer
            for answer in answers:
                if isinstance(answer, redis.RedisError):
                    raise answer
        except redis.RedisError as error:
            self._nodes.failed(error)
            raise
        if replicas:
            for exchange in exchanges:
                self._check(exchange, replicas)
        return answers

    def look_again(self) -> None:
        """Look at the nodes that accept batches without confirmation. Raises `redis.RedisError`.

        A process that publishes seldom would not notice the return of a replica, and no process
        that another master has taken the place of the node.
        """
        accepting = self.nodes_alone.accepting
        if not accepting:
            return
        try:
            masters = {node.address: node for node in self._nodes.masters()}
            for address in accepting:
                if (node := masters.get(address)) is None:
                    self.nodes_alone.forget(address)
                else:
                    self.nodes_alone.note(address, alone=_connected(node.client.info("replication")) == 0)
        except redis.RedisError as error:
            self._nodes.failed(error)
            raise

    def _exchange(
        self, exchanges: Sequence[_Exchange], script: str, calls: Sequence[ScriptCall], replicas: int, answers: list[Any]
    ) -> None:
        """Write all pipelines, then read all. An error of one does not leave another unread."""
        sha, error = sha_of(script), None
        wait = ("WAIT", replicas, self._setup.wait_ms) if replicas else None
        accepting = self.nodes_alone.accepting if replicas else frozenset()
        for step in ("write", "read"):
            for exchange in exchanges:
                try:
                    if step == "write":
                        exchange.write(sha, calls, wait, alone=exchange.node.address in accepting)
                    elif exchange.is_open:
                        exchange.read(answers, wait)
                except redis.RedisError as each:
                    error = error or each
        for exchange in exchanges:
            exchange.close()
        if error is not None:
            raise error

    def _check(self, exchange: _Exchange, replicas: int) -> None:
        """Accept what enough replicas have, or a node that has had none for some time."""
        address = exchange.node.address
        if exchange.confirmed >= replicas:
            self.nodes_alone.note(address, alone=False)
            return
        if not self._setup.strict:
            connected = exchange.connected
            if connected is None:
                connected = _connected(exchange.node.client.info("replication"))
            if self.nodes_alone.note(address, alone=connected == 0):
                self._unreplicated()
                return
        raise BusUnreplicated(address, exchange.confirmed, replicas)


class _Exchange:
    """The calls of one node on one connection; `places` are theirs among all calls."""

    def __init__(self, node: Node, places: Sequence[int]) -> None:
        self.node = node
        self.confirmed = 0  # replicas
        self.connected: int | None = None  # replicas; None: not looked at
        self._places = places
        self._connection: Any = None
        self._written = False
        self._alone = False

    @property
    def is_open(self) -> bool:
        """True if commands were written whose answers have not been read."""
        return self._written

    def write(self, sha: str, calls: Sequence[ScriptCall], wait: tuple[Any, ...] | None, *, alone: bool) -> None:
        """Write the calls, then WAIT. If the node is known to be `alone`, WAIT would only delay."""
        self._connection = connection = self.node.client.connection_pool.get_connection()
        owner = self.node.owner or getattr(connection, RUN_ID, "")
        commands: list[tuple[Any, ...]] = [
            ("EVALSHA", sha, len(keys), *keys, *_owned(arguments, owner)) for keys, arguments in (calls[place] for place in self._places)
        ]
        self._alone = alone
        if wait is not None:
            commands.append(("INFO", "replication") if alone else wait)
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        self._written = True

    def read(self, answers: list[Any], wait: tuple[Any, ...] | None) -> None:
        """Read the answers, errors of Redis included."""
        for place in self._places:
            answers[place] = self._read()
        if wait is None:
            self._written = False
            return
        last = self._read()
        if self._alone and isinstance(last, bytes):
            self.connected = _connected(fields_of(last))
            if self.connected:
                self._connection.send_command(*wait, check_health=False)
                last = self._read()
        self._written = False
        if isinstance(last, redis.RedisError):
            raise last
        self.confirmed = last if isinstance(last, int) else 0

    def close(self) -> None:
        """Give the connection back; one with answers that were not read is closed."""
        if self._connection is not None:
            if self._written:
                self._connection.disconnect()
            self.node.client.connection_pool.release(self._connection)
            self._connection = None

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error


def _owned(arguments: Sequence[str | bytes | int], owner: str) -> Sequence[str | bytes | int]:
    """The arguments with the owner in its place."""
    if OWNER not in arguments[:_OWNER_WITHIN]:
        return arguments
    place = arguments.index(OWNER)
    return [*arguments[:place], owner, *arguments[place + 1 :]]


def fields_of(info: bytes) -> dict[str, str]:
    """The fields of an answer to INFO."""
    return dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)


def _connected(info: dict[str, Any]) -> int:
    """The number of connected replicas of an answer to INFO."""
    return int(info.get("connected_slaves", 0))
