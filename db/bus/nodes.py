"""The servers of the bus: which one has a key, read again after errors only."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from typing import Any

import redis
from redis.exceptions import ClusterDownError

from db.bus.errors import is_moved
from db.bus.topology.finders import Address, ClusterFinder, Finder, SentinelFinder, Share
from db.bus.topology.setup import CLUSTER, SENTINEL, BusSetup, OnConnect, client_of, connection_options
from db.shards import sharded_key, slot_of

SECONDS_BETWEEN_READS = 1.0  # of the topology


class Node:
    """A server that takes messages. `client` has a pool of connections of its own.

    `owner` names it in the hash of the numbers, which begins a new epoch if it changes: `myid` for
    the id of a node of a cluster, which the script reads, or the address that the sentinels named.
    """

    __slots__ = ("address", "client", "owner")

    def __init__(self, address: str, client: Any, owner: str = "") -> None:
        self.address = address
        self.client = client
        self.owner = owner


class Nodes:
    """The servers of one setup, safe to share between threads.

    Every method raises `redis.RedisError` if no server answers. A caller reports its errors with
    `failed`. The topology is read again after them, at most once in `SECONDS_BETWEEN_READS`.
    """

    def __init__(self, url: str, setup: BusSetup, timeout: float, on_connect: OnConnect | None = None) -> None:
        self._setup = setup
        self._timeout = timeout
        self._on_connect = on_connect
        self._lock = threading.RLock()
        self._finder = _finder(url, setup)
        self._fixed = _fixed_node(url, setup, timeout, on_connect) if self._finder is None else None
        self._first_slot = slot_of(sharded_key("tickwire:seq", 0, setup.shards).encode())
        self._shares: list[Share] = []
        self._by_address: dict[Address, Node] = {}
        self._by_slot: dict[int, Node] = {}
        self._stale = True
        self._read_at = float("-inf")

    @property
    def fixed(self) -> Node | None:
        """The only node, which has every key for ever; None if the servers have to be found."""
        return self._fixed

    def of(self, key: str | bytes) -> Node:
        """The node that has this key."""
        return self._fixed or self._of_slot(slot_of(key.encode() if isinstance(key, str) else key))

    def first(self) -> Node:
        """The node of shard 0, for commands without a key."""
        return self._fixed or self._of_slot(self._first_slot)

    def masters(self) -> list[Node]:
        """Every node that has slots."""
        if self._fixed is not None:
            return [self._fixed]
        with self._lock:
            self._refresh()
            return [self._node(address) for address in dict.fromkeys(share.master for share in self._shares)]

    def share_of(self, key: str | bytes) -> Share | None:
        """The master and the replicas of this key; None if the address of the server is fixed."""
        if self._fixed is not None:
            return None
        with self._lock:
            self._refresh()
            return self._share(slot_of(key.encode() if isinstance(key, str) else key))

    def options(self, address: Address) -> dict[str, Any]:
        """The arguments of a connection of redis-py to the server at `address`."""
        if self._finder is None:
            raise ValueError("the address of the only server is fixed")
        return self._finder.options(address, self._timeout)

    def failed(self, error: redis.RedisError) -> None:
        """Read the topology before the next use, if the error may come from its change.

        If there is one server, the address may lead to another one: idle connections are closed.
        """
        if isinstance(error, redis.ConnectionError | redis.TimeoutError) or is_moved(error):
            self._stale = True
            if self._fixed is not None and is_moved(error):
                self._fixed.client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for node in [self._fixed, *self._by_address.values()]:
                if node is not None:
                    node.client.close()
            self._by_address, self._by_slot, self._stale = {}, {}, True

    def _of_slot(self, slot: int) -> Node:
        node = None if self._stale else self._by_slot.get(slot)
        if node is None:
            with self._lock:
                self._refresh()
                node = self._by_slot[slot] = self._node(self._share(slot).master)
        return node

    def _share(self, slot: int) -> Share:
        place = bisect_right(self._shares, slot, key=lambda share: share.first) - 1
        if place < 0 or self._shares[place].last < slot:
            raise ClusterDownError(f"CLUSTERDOWN no node has the hash slot {slot}")
        return self._shares[place]

    def _refresh(self) -> None:
        """Read the topology if it is stale, and was not read in the last second."""
        if not self._stale or self._finder is None:
            return
        now = time.monotonic()
        if now - self._read_at < SECONDS_BETWEEN_READS:
            if not self._shares:
                raise redis.ConnectionError("no server of the bus was found")
            return
        self._read_at = now
        self._shares = self._finder.find()
        self._stale, self._by_slot = False, {}
        self._close_others()

    def _close_others(self) -> None:
        """Close the idle connections to servers that are no master any more."""
        masters = {share.master for share in self._shares}
        for address in self._by_address.keys() - masters:
            self._by_address.pop(address).client.connection_pool.disconnect(inuse_connections=False)

    def _node(self, address: Address) -> Node:
        if address not in self._by_address:
            client = client_of(self.options(address), self._on_connect)
            owner = "myid" if self._setup.mode == CLUSTER else str(address)
            self._by_address[address] = Node(str(address), client, owner)
        return self._by_address[address]


def _fixed_node(url: str, setup: BusSetup, timeout: float, on_connect: OnConnect | None) -> Node:
    options = connection_options(url, setup, timeout)
    address = options.get("path") or str(Address(options.get("host", "localhost"), options.get("port", 6379)))
    return Node(address, client_of(options, on_connect))


def _finder(url: str, setup: BusSetup) -> Finder | None:
    """The way to find the servers; None if the URL is that of the only one."""
    seeds = setup.seeds or (url,)
    if setup.mode == CLUSTER:
        return ClusterFinder(seeds, setup)
    return SentinelFinder(seeds, setup) if setup.mode == SENTINEL else None
