"""A bus in memory for the relay: streams, one live subscription, and pauses during its reads.

`Bus` publishes; `events` run while the relay reads. So a test decides what happens meanwhile.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, cast
from zlib import crc32

import orjson

from db import topics
from db.bus import BusError, Subscription, Subscriptions
from db.messages import Entry, NoteBad, Stamp, ignore_bad

NOON = "2025-11-18T12:00:00.000000Z"

Answer = TypeVar("Answer")


class ScriptedSubscription:
    """A subscription; `ready` has its messages in batches."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.close()
        self.ready: list[tuple[str, bytes]] = []
        self.is_lost = False

    def receive(self) -> list[tuple[str, bytes]]:
        if self.is_lost:
            raise BusError("reset")
        ready, self.ready = self.ready, []
        return ready

    def ping(self) -> None:
        return

    def close(self) -> None:
        self.is_lost = True


class ScriptedBus:
    """The part of the bus that the relay uses.

    Every read calls the next of `events` before its answer is made, and the next one after it.
    """

    def __init__(self, shards: int = 1) -> None:
        self.shards = shards
        self.epochs = ["one", *(f"one of {shard}" for shard in range(1, shards))]  # of each shard
        self.events: list[Callable[[], None]] = []
        self.streams: dict[tuple[str, int], list[Entry]] = {}  # channel, shard -> entries
        self.added = 0  # entries, for their ids
        self.latest: dict[str, bytes] = {}
        self.subscription: ScriptedSubscription | None = None
        self.reads = 0
        self.must_not_read = False
        self._numbers: dict[tuple[str, str], int] = {}

    def publish(self, topic: str, *, lost: bool = False, bad: bool = False) -> bytes:
        """Publish a price; a `lost` one is in the stream, and the subscription does not get it.

        A `bad` one violates the schema.
        """
        key, shard = (topics.PRICES, topic), self.shard_of(topics.PRICES, topic)
        seq = self._numbers[key] = self._numbers.get(key, 0) + 1
        price = {"bid": -1 if bad else "1.0", "ask": "1.2", "mid": "1.1", "time": NOON}
        body = orjson.dumps({"instrument": topic, "price": price, "timestamp": NOON, "seq": seq, "epoch": self.epochs[shard]})
        self.added += 1
        entry = Entry(b"%d-0" % self.added, topic, self.epochs[shard], seq, body, "synthetic", None)
        self.streams.setdefault((topics.PRICES, shard), []).append(entry)
        self.latest[topic] = body
        if self.subscription is not None and not lost:
            self.subscription.ready.append((topics.PRICES, body))
        return body

    def fail_over(self, shard: int, forgotten: int = 0) -> None:
        """A replica becomes the master of the shard; it lacks the last `forgotten` entries."""
        self.epochs[shard] += "+"
        entries = self.streams.get((topics.PRICES, shard), [])
        del entries[len(entries) - forgotten :]
        for channel, topic in list(self._numbers):
            if self.shard_of(channel, topic) == shard:
                del self._numbers[channel, topic]

    def publish_foreign(self, topic: str, mid: str) -> bytes:
        """Publish a price as a foreign program does."""
        body = orjson.dumps({"instrument": topic, "price": {"bid": "1.0", "ask": "1.2", "mid": mid, "time": NOON}})
        if self.subscription is not None:
            self.subscription.ready.append((topics.PRICES, body))
        return body

    def disconnect(self) -> None:
        """End the subscription: its next read fails, and its messages are lost."""
        if self.subscription is not None:
            self.subscription.is_lost = True
            self.subscription.ready.clear()

    # for the relay

    def subscribe(self, channels: Sequence[str] | None = None, process: str | None = None) -> Subscriptions:
        self._pause()
        self.subscription = ScriptedSubscription()
        return Subscriptions([cast(Subscription, self.subscription)])

    def shard_of(self, channel: str, topic: str) -> int:
        return crc32(topic.encode()) % self.shards

    def shards_of(self, channel: str) -> range:
        return range(self.shards if channel == topics.PRICES else 1)

    def epoch(self, shard: int = 0) -> str | None:
        return self._read(lambda: self.epochs[shard])

    def position(self, channel: str, topic: str) -> Stamp | None:
        return self._read(lambda: Stamp(self.epochs[self.shard_of(channel, topic)], self._numbers.get((channel, topic), 0)))

    def backwards(self, channel: str, chunk: int = 1000, note_bad: NoteBad = ignore_bad, shard: int = 0) -> Iterator[Entry]:
        yield from reversed(self._read(lambda: list(self.streams.get((channel, shard), []))))

    def latest_prices(self, instruments: Iterable[str] | None = None) -> Mapping[str, bytes]:
        return self._read(lambda: dict(self.latest))

    def renew_epoch(self, seen: str, shard: int = 0) -> str | None:
        raise AssertionError("no data was lost")

    def _read(self, read: Callable[[], Answer]) -> Answer:
        if self.must_not_read:
            raise AssertionError("the callback has read Redis")
        self.reads += 1
        self._pause()
        answer = read()
        self._pause()
        return answer

    def _pause(self) -> None:
        if self.events:
            self.events.pop(0)()
