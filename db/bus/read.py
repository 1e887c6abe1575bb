"""Reading: latest prices, streams from their end, live subscriptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated
from db.bus.subscription import Subscription
from db.messages import Entry


class Reader(Connection):
    """The part of the bus for the hub and REST. Every method raises `BusError`."""

    def latest_prices(self, instruments: Iterable[str] | None = None) -> dict[str, bytes]:
        """instrument -> its latest `price_update` body; of `instruments`, or of all if None.

        Instruments without a price are left out.
        """
        with translated():
            if instruments is None:
                return {topic.decode(): body for topic, body in self._redis.hgetall(topics.LATEST_KEY).items()}
            names = list(instruments)
            bodies = self._redis.hmget(topics.LATEST_KEY, names) if names else []
            return {name: body for name, body in zip(names, bodies, strict=True) if body is not None}

    def latest_times(self, instruments: Iterable[str]) -> dict[str, str]:
        """instrument -> time of its latest price, from the source; others are left out."""
        return {name: orjson.loads(body)["price"]["time"] for name, body in self.latest_prices(instruments).items()}

    def backwards(self, channel: str, chunk: int = 1000) -> Iterator[Entry]:
        """The messages of the channel's stream, the last first, fetched in chunks as needed."""
        end: bytes | str = "+"
        while True:
            with translated():
                items = self._redis.xrevrange(topics.stream_key(channel), max=end, count=chunk)
            yield from (Entry.of(*item) for item in items)
            if len(items) < chunk:
                return
            end = b"(" + items[-1][0]

    def subscribe(self, channels: Sequence[str] | None = None) -> Subscription:
        """Subscribe to `channels`, or to every relayed channel if None.

        The subscription receives every message that is published after this method returns.
        """
        if channels is None:
            channels = topics.relayed(self._streams)
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), channels)
