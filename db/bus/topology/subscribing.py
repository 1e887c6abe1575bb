"""Subscriptions to the servers of the bus: which connection gets which channels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

import redis

from db import topics
from db.bus.errors import BusError, translated
from db.bus.nodes import Nodes
from db.bus.subscription import Subscription, Subscriptions
from db.bus.topology.finders import Address
from db.bus.topology.setup import BOTH, CLASSIC, BusSetup
from db.shards import sharded_key

Names = dict[str, str]  # shard channel of one slot, as on the wire -> channel


class Subscriber:
    """Makes subscriptions. Each shard channel is subscribed at one server of its slot.

    The classic names are on exactly one connection: a PUBLISH at any server of a cluster arrives
    there.
    """

    def __init__(self, nodes: Nodes, setup: BusSetup, streams: Mapping[str, topics.Stream]) -> None:
        self._nodes = nodes
        self._setup = setup
        self._streams = streams

    def subscribe(self, channels: Sequence[str], process: str | None = None) -> Subscriptions:
        """Subscribe to the channels. Raises `BusError`.

        With its name, a process subscribes at the master or a replica of each shard; processes
        spread over them by the CRC-32 of their names. Without a name, masters are used. If a server
        fails, the next one of its shards is tried.
        """
        spread = [] if self._setup.channels == CLASSIC else [name for name in channels if self._is_spread(name)]
        if not spread:
            with translated():
                connection = self._nodes.first().client.connection_pool.make_connection()
            return Subscriptions([Subscription(connection, channels, failed=self._nodes.failed)])
        slots = self._slots(spread)
        failed: dict[Address, BusError] = {}
        while True:
            places = self._places(slots, process, failed)
            parts: list[Subscription] = []
            try:
                for address, names in places.items():
                    parts.append(self._at(address, channels if not parts else [], names))
            except BusError as error:
                Subscriptions(parts).close()
                failed[address] = error
            else:
                return Subscriptions(parts)

    def _is_spread(self, channel: str) -> bool:
        row = self._streams.get(channel)
        return row is not None and row.by_instrument

    def _slots(self, channels: Sequence[str]) -> list[Names]:
        shards = self._setup.shards
        return [{sharded_key(topics.shard_channel(name), shard, shards): name for name in channels} for shard in range(shards)]

    def _places(self, slots: Sequence[Names], process: str | None, failed: Mapping[Address, BusError]) -> dict[Address, list[Names]]:
        """Address -> what to subscribe there. Raises `BusError` if no server of a slot is left."""
        places: dict[Address, list[Names]] = {}
        for names in slots:
            servers = self._servers(next(iter(names)), process)
            left = [address for address in servers if address not in failed]
            if not left:
                raise failed[servers[0]]
            places.setdefault(left[0], []).append(names)
        return places

    def _servers(self, name: str, process: str | None) -> list[Address]:
        """The servers of the slot of a shard channel, the chosen one first."""
        with translated():
            share = self._nodes.share_of(name)
        assert share is not None  # noqa: S101 - only a cluster has shard channels
        if process is None:
            return [share.master]
        servers = [share.master, *share.replicas]
        chosen = crc32(process.encode()) % len(servers)
        return servers[chosen:] + servers[:chosen]

    def _at(self, address: Address, channels: Collection[str], slots: Sequence[Names]) -> Subscription:
        options: dict[str, Any] = dict(self._nodes.options(address))
        connection = options.pop("connection_class", redis.Connection)(**options)
        foreign_only = [name for name in channels if self._is_spread(name)] if self._setup.channels == BOTH else []
        return Subscription(connection, list(channels), slots, foreign_only=foreign_only, failed=self._nodes.failed)
