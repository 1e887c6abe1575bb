"""Reading: latest prices, streams from their end, live subscriptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge

import orjson

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import translated
from db.bus.numbers import new_epoch
from db.bus.subscription import Subscriptions
from db.bus.topology.subscribing import Subscriber
from db.messages import Entry, NoteBad, Stamp, ignore_bad
from db.shards import shard_of
from db.timestamps import parse_time

_RENEW = lua("renew")


class Reader(Connection):
    """The part of the bus for the hub and REST. Every method raises `BusError`."""

    def latest_prices(self, instruments: Iterable[str] | None = None) -> dict[str, bytes]:
        """instrument -> its latest `price_update` body; of `instruments`, or of all if None.

        Instruments without a price are left out, and those whose price cannot be read.
        """
        with translated():
            if instruments is None:
                found = self._all_latest()
            else:
                names = list(instruments)
                found = {name: body for name, body in zip(names, self._latest_of(names), strict=True) if body is not None}
        # Another channel that keeps its latest messages shares the hash; they name no instrument.
        shared = any(
            row.keeps_latest and row.latest_key == topics.LATEST_KEY for row in self._streams.values() if row.name != topics.PRICES
        )
        return {name: body for name, body in found.items() if _is_price(body, shared)}

    def _all_latest(self) -> dict[str, bytes]:
        if self.shards == 1:
            return {topic.decode(errors="replace"): body for topic, body in self._redis.hgetall(topics.LATEST_KEY).items()}
        pipe = self._redis.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.hgetall(self.key(topics.LATEST_KEY, shard))
        return {topic.decode(errors="replace"): body for found in pipe.execute() for topic, body in found.items()}

    def _latest_of(self, names: Sequence[str]) -> list[bytes | None]:
        if self.shards == 1:
            return list(self._redis.hmget(topics.LATEST_KEY, names)) if names else []
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.hget(self.key(topics.LATEST_KEY, shard_of(name, self.shards)), name)
        return list(pipe.execute())

    def latest_times(self, instruments: Iterable[str]) -> dict[str, str]:
        """instrument -> time of its latest price, from the source; others are left out."""
        return {name: orjson.loads(body)["price"]["time"] for name, body in self.latest_prices(instruments).items()}

    def position(self, channel: str, topic: str) -> Stamp | None:
        """The present epoch and the last number of the topic (0: none); None without an epoch."""
        return self._positions(channel, [topic])[0]

    def _positions(self, channel: str, names: Iterable[str]) -> list[Stamp | None]:
        """The same for each of these topics, in one round trip per node."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for topic in names:
                numbers = self.key(topics.NUMBERS_KEY, self.shard_of(channel, topic))
                pipe.hmget(numbers, ["epoch", topics.number_field(channel, topic)])
            answers = pipe.execute()
        return [None if epoch is None else _stamp(epoch, number) for epoch, number in answers]

    def epoch(self, shard: int = 0) -> str | None:
        """The present epoch of the shard; None if the next message begins one."""
        with translated():
            found = self._redis.hget(self.key(topics.NUMBERS_KEY, shard), "epoch")
        return None if found is None else found.decode(errors="replace")

    def renew_epoch(self, seen: str, shard: int = 0) -> str | None:
        """Begin a new epoch of the shard because data of the epoch `seen` were lost; return the
        present epoch.

        Does nothing if the epoch is another one already.
        """
        (epoch,) = self._run_scripts(_RENEW, [([self.key(topics.NUMBERS_KEY, shard)], [seen, new_epoch()])])
        return None if epoch is None else epoch.decode(errors="replace")

    def renew_if_behind(self, channel: str, known: Mapping[str, Stamp]) -> str | None:
        """Begin a new epoch if a number of `known` (topic -> last stamp) is above its counter.

        Then Redis went back in time, while no publisher ran. Returns an epoch that ended, else
        None. Each shard has an epoch of its own.
        """
        positions = zip(known.items(), self._positions(channel, known), strict=True)
        behind = {
            self.shard_of(channel, topic): stamp.epoch
            for (topic, stamp), position in positions
            if position is not None and position.epoch == stamp.epoch and position.seq < stamp.seq
        }
        for shard, epoch in behind.items():
            self.renew_epoch(epoch, shard)
            self.measured.epochs.add()
        return next(reversed(behind.values()), None)

    def backwards(self, channel: str, chunk: int = 1000, note_bad: NoteBad = ignore_bad, shard: int | None = None) -> Iterator[Entry]:
        """The messages of the channel's stream, the last first, fetched in chunks as needed.

        They are those of one shard, or those of all shards in the order of their times. Malformed
        entries are left out; `note_bad` is called with each of them.
        """
        shards = self.shards_of(channel) if shard is None else [shard]
        streams = [self._backwards_in(channel, chunk, note_bad, each) for each in shards]
        return streams[0] if len(streams) == 1 else merge(*streams, key=_added_at, reverse=True)

    def _backwards_in(self, channel: str, chunk: int, note_bad: NoteBad, shard: int) -> Iterator[Entry]:
        end: bytes | str = "+"
        while True:
            with translated():
                items = self._redis.xrevrange(self.key(topics.stream_key(channel), shard), max=end, count=chunk)
            for item in items:
                try:
                    entry = Entry.of(*item)
                except ValueError as error:
                    note_bad(item[0], error)
                else:
                    yield entry
            if len(items) < chunk:
                return
            end = b"(" + items[-1][0]

    def subscribe(self, channels: Sequence[str] | None = None, process: str | None = None) -> Subscriptions:
        """Subscribe to `channels`, or to every relayed channel if None, in all shards.

        The subscription receives every message that is published after this method returns. With
        its name, a process subscribes at a master or a replica; without, at the masters.
        """
        if channels is None:
            channels = topics.relayed(self._streams)
        return Subscriber(self._nodes, self._setup, self._streams).subscribe(channels, process)


def _stamp(epoch: bytes, number: bytes | None) -> Stamp:
    return Stamp(epoch.decode(errors="replace"), int(number) if number and number.isdigit() else 0)


def _added_at(entry: Entry) -> tuple[int, int]:
    milliseconds, _, number = entry.id.partition(b"-")
    return int(milliseconds), int(number)


def _is_price(body: bytes, shared: bool) -> bool:
    """True if the body has the fields of a message of `price_updates`.

    If the hash is `shared`, it may also be a message without an instrument.
    """
    try:
        message = orjson.loads(body)
        if shared and "instrument" not in message:
            return True
        price = message["price"]
        parse_time(price["time"])
        texts = (message["instrument"], message["timestamp"], message["epoch"], price["bid"], price["ask"], price["mid"])
        return type(message["seq"]) is int and all(type(text) is str for text in texts)
    except (ValueError, KeyError, TypeError):
        return False
