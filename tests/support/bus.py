"""Places of a bus for tests, with the reads and losses that only tests need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import redis as redis_client
from redis.exceptions import MovedError

from db import topics
from db.bus import PLAIN, Bus, BusSetup
from db.bus.errors import translated
from db.shards import sharded_key


@dataclass(frozen=True, slots=True)
class BusPlace:
    """The servers of a bus. `clients` have every right, one per server."""

    url: str
    clients: Sequence[redis_client.Redis]
    setup: BusSetup = PLAIN

    def bus(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), **options: Any) -> Bus:
        """A bus with a connection pool of its own."""
        return Bus(self.url, clock, setup=self.setup, **options)

    def flush(self) -> None:
        """Delete everything."""
        for client in self.clients:
            client.flushall()

    def delete(self, key: str) -> None:
        """Delete a key in every shard."""
        self._each(key, lambda client, name: client.delete(name))

    def exists(self, key: str) -> bool:
        """True if the key exists in a shard."""
        return any(self._each(key, lambda client, name: client.exists(name)))

    def entries(self, channel: str) -> list[Any]:
        """The entries of the channel's streams, id and fields."""
        found = self._each(topics.stream_key(channel), lambda client, name: client.xrange(name))
        return [entry for entries in found for entry in entries]

    def end_subscriptions(self) -> None:
        """Close the connection of every subscriber."""
        for client in self.clients:
            client.client_kill_filter(_type="pubsub")

    def _each(self, key: str, call: Callable[[Any, str], Any]) -> list[Any]:
        """The results of a call for the key without a tag and in every shard, at its server."""
        names = {key, *(sharded_key(key, shard, self.setup.shards) for shard in range(self.setup.shards))}
        found = []
        for client in self.clients:
            for name in sorted(names):
                with suppress(MovedError):
                    found.append(call(client, name))
        return found


def source_changes(bus: Bus) -> list[dict[str, Any]]:
    """The kept changes of the sources' states, oldest first. Raises `BusError`."""
    with translated():
        entries = bus._redis.xrange(topics.stream_key(topics.SOURCE_STATES))
    return [orjson.loads(fields[b"body"]) for _, fields in entries]
