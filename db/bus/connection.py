"""The connection to Redis that all parts of the bus share.

Only this module uses `Any` for the answers of redis-py, which types each of them as the union of
the answers that any of its settings could produce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import redis

from db import topics
from db.bus.confirmation import RUN_ID, Confirmation, NodesAlone, ScriptCall, fields_of, sha_of
from db.bus.errors import LayoutDiffers, translated
from db.bus.nodes import Nodes
from db.bus.topology.routed import RoutedRedis
from db.bus.topology.setup import PLAIN, SINGLE, BusSetup
from db.measures import Counts
from db.shards import shard_of, sharded_key, shards_of_layout


@cache
def lua(name: str) -> str:
    """The text of the script `NAME.lua` in this folder."""
    return (Path(__file__).parent / f"{name}.lua").read_text()


@dataclass(frozen=True, slots=True)
class BusCounts:
    """Counts of what a process does on the bus; a collector of metrics reads them.

    `published` counts records by channel and shard, `parked` dead letters by channel. `epochs`
    counts the new epochs that were seen; the first one of a process is not new. `unreplicated`
    counts the batches that were accepted without confirmation by a replica.
    """

    published: Counts = field(default_factory=Counts)
    parked: Counts = field(default_factory=Counts)
    epochs: Counts = field(default_factory=lambda: Counts(()))
    unreplicated: Counts = field(default_factory=lambda: Counts(()))


@dataclass(frozen=True, slots=True)
class Shared:
    """The state that all buses of a process share.

    `layout_differs` is called if a new connection leads to a bus with another number of shards.
    """

    nodes_alone: NodesAlone = field(default_factory=NodesAlone)
    layout_differs: Callable[[LayoutDiffers], None] | None = None


class Connection:
    """The connections to all servers of the bus, safe to share between threads.

    `clock` stamps each published message. `limit` is the maximum of unstored entries per stored
    stream and shard, `timeout` is in seconds. `streams` is the channel table, read at each call.
    `shards` is the number of shards.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime],
        *,
        setup: BusSetup = PLAIN,
        limit: int = 500_000,
        timeout: float = 5.0,
        streams: Mapping[str, topics.Stream] = topics.STREAMS,
        shared: Shared | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._setup = setup
        self.shards = setup.shards
        self._limit = limit
        self._streams = streams
        self.measured = BusCounts()
        self._shared = shared or Shared()
        prepares = setup.failover or self._shared.layout_differs is not None
        self._nodes = Nodes(url, setup, timeout, self._prepare if prepares else None)
        self._confirmation = Confirmation(self._nodes, setup, self.measured.unreplicated.add, self._shared.nodes_alone)
        self._redis: Any = RoutedRedis(self._nodes) if self._nodes.fixed is None else self._nodes.fixed.client
        # One server that never changes needs no confirmation: the commands go to it directly.
        self._direct = self._nodes.fixed is not None and not setup.wait_replicas and not setup.failover

    def with_timeout(self, seconds: float) -> Self:
        """The same bus on connections of its own, with another timeout."""
        return type(self)(
            self._url,
            self._clock,
            setup=self._setup,
            limit=self._limit,
            timeout=seconds,
            streams=self._streams,
            shared=self._shared,
        )

    @contextmanager
    def on_first_node(self) -> Iterator[Any]:
        """Yield the connections of the node of shard 0, for a client of Redis of another package.

        Errors of Redis in the block become `BusError`.
        """
        with translated():
            try:
                yield self._redis.connection_pool
            except redis.RedisError as error:
                self._nodes.failed(error)
                raise

    @property
    def unreplicated_nodes(self) -> frozenset[str]:
        """The addresses of the nodes that accept batches without confirmation at present.

        Buses that `with_timeout` has made share them.
        """
        return self._shared.nodes_alone.accepting

    def look_at_unreplicated_nodes(self) -> None:
        """Look whether these nodes have a replica again, or are no masters any more."""
        with translated():
            self._confirmation.look_again()

    def shard_of(self, channel: str, topic: str) -> int:
        """The shard of a topic: that of its instrument, or 0 for a channel that is not spread."""
        return shard_of(topics.instrument_of(channel, topic), self.shards) if self._streams[channel].by_instrument else 0

    def shards_of(self, channel: str) -> range:
        """The shards in which messages of the channel live."""
        return range(self.shards if self._streams[channel].by_instrument else 1)

    def key(self, key: str, shard: int = 0) -> str:
        """The key `tickwire:REST` in this shard; with one shard it stays."""
        return key if self.shards == 1 else sharded_key(key, shard, self.shards)

    def close(self) -> None:
        """Close every connection."""
        self._nodes.close()

    def ping(self) -> None:
        """Raise `BusError` unless every server of the bus answers."""
        with translated():
            for node in self._nodes.masters():
                try:
                    node.client.ping()
                except redis.RedisError as error:
                    self._nodes.failed(error)
                    raise

    def _run_scripts(self, script: str, calls: Sequence[ScriptCall], *, confirmed: bool = False) -> list[Any]:
        """Run one script once per call, in one round trip; load it first if Redis lacks it.

        With `confirmed`, the replicas of the setup have the effects when this returns.
        """
        if not calls:
            return []
        with translated():
            if not self._direct:
                return self._confirmation.run(script, calls, confirmed=confirmed)
            sha = sha_of(script)
            try:
                return self._run_loaded(sha, calls)
            except redis.exceptions.NoScriptError:
                self._redis.script_load(script)
                return self._run_loaded(sha, calls)

    def _run_loaded(self, sha: str, calls: Sequence[ScriptCall]) -> list[Any]:
        if len(calls) == 1:  # a pipeline costs redis-py twice the CPU time of a command
            [(keys, arguments)] = calls
            return [self._redis.evalsha(sha, len(keys), *keys, *arguments)]
        pipe = self._redis.pipeline(transaction=False)
        for keys, arguments in calls:
            pipe.evalsha(sha, len(keys), *keys, *arguments)
        return list(pipe.execute())

    def _prepare(self, connection: Any) -> None:
        """Prepare a new connection to a server that may be another one than before."""
        if self._shared.layout_differs is not None:
            self._compare_layout(connection, self._shared.layout_differs)
        if not self._setup.failover:
            return
        for name in _PUBLISHING:
            connection.send_command("SCRIPT", "LOAD", lua(name), check_health=False)
            connection.read_response()
        if self._setup.mode == SINGLE:
            connection.send_command("INFO", "server", check_health=False)
            setattr(connection, RUN_ID, fields_of(connection.read_response())["run_id"])

    def _compare_layout(self, connection: Any, differs: Callable[[LayoutDiffers], None]) -> None:
        connection.send_command("GET", topics.LAYOUT_KEY, check_health=False)
        try:
            found = connection.read_response()
        except redis.ResponseError:  # another node of the cluster has it
            return
        if found is not None and (held := shards_of_layout(found)) != self.shards:
            error = LayoutDiffers(self.shards, held)
            differs(error)
            raise redis.ConnectionError(str(error))


_PUBLISHING = ("publish", "append")  # scripts of which each node has a copy of its own
