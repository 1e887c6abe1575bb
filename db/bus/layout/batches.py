"""Batches as calls of the scripts: one part of at most 500 messages of one shard per call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import orjson

from db import topics
from db.bus.confirmation import OWNER, ScriptCall
from db.bus.connection import lua
from db.bus.errors import BusFull
from db.bus.fence import NO_FENCE, Fence
from db.bus.numbers import Numbers, new_epoch
from db.bus.processes.instruments import Instruments
from db.bus.topology.setup import CLASSIC
from db.messages import Stamp

MESSAGES_PER_SCRIPT = 500  # Redis serves no other client during a script call
RECEIPT_SECONDS = 86_400
_PUBLISH = lua("publish")

# Topic, JSON body without its closing brace, source, volume, occurrence (empty: 1). The script adds
# `seq` and `epoch` to the body. If the channel has no stream, the third and fourth are further
# pieces of the message.
Message = tuple[str, bytes, str | bytes, str | bytes, str]

Item = TypeVar("Item")


class Batches(Instruments):
    """The part of the bus that publishes batches of messages. Every method raises `BusError`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._numbers = [Numbers(self.measured.epochs.add) for _ in range(self.shards)]
        self._owner = OWNER if self._setup.failover else ""
        self._channels = "" if self._setup.channels == CLASSIC else self._setup.channels
        self._kept_keys: dict[tuple[str, int], tuple[tuple[str, ...], str]] = {}  # of a channel in a shard

    def _publish(
        self, channel: str, messages: Sequence[Message], batch_id: str | None = None, fence: Fence = NO_FENCE, seen: bytes = b""
    ) -> list[Stamp]:
        """The stamps of the messages, in order, seq 0 for a duplicate.

        `seen` is argument 9 of the script.
        """
        if batch_id is not None and "/" not in batch_id:
            raise ValueError("batch_id is PUBLISHER/NUMBER")
        parts: Sequence[tuple[int, int, Sequence[Message]]]  # shard, place of the first message in it, messages
        if self.shards == 1 and 0 < len(messages) <= MESSAGES_PER_SCRIPT:
            parts = ((0, 0, messages),)
        else:
            parts = [
                (shard, start, mine[start : start + MESSAGES_PER_SCRIPT])
                for shard, mine in self._by_shard(channel, messages, itemgetter(0)).items()
                for start in range(0, len(mine), MESSAGES_PER_SCRIPT)
            ]
        calls = [self._publish_call(channel, shard, part, batch_id or "", start, fence, seen) for shard, start, part in parts]
        answers = self._run_scripts(_PUBLISH, calls, confirmed=True)
        stamps: dict[int, list[Stamp]] = {}  # shard -> those of its messages
        for (shard, _, part), answer in zip(parts, answers, strict=True):
            if answer:
                stamps.setdefault(shard, []).extend(self._stamps(channel, shard, part, answer))
        if not all(answers):
            raise BusFull(f"{channel}: {self._limit} messages wait to be stored")
        for shard, mine in stamps.items():
            self.measured.published.add(channel, str(shard), by=sum(1 for stamp in mine if stamp.seq) if seen else len(mine))
        if len(stamps) < 2:
            return next(iter(stamps.values()), [])
        following = {shard: iter(mine) for shard, mine in stamps.items()}
        return [next(following[self.shard_of(channel, message[0])]) for message in messages]

    def _by_shard(self, channel: str, items: Sequence[Item], topic_of: Callable[[Item], str]) -> Mapping[int, Sequence[Item]]:
        """shard -> its items, in order."""
        if self.shards == 1 or not self._streams[channel].by_instrument:
            return {0: items}
        found: dict[int, list[Item]] = {}
        for item in items:
            found.setdefault(self.shard_of(channel, topic_of(item)), []).append(item)
        return found

    def _publish_call(
        self, channel: str, shard: int, messages: Sequence[Message], batch_id: str, part: int, fence: Fence, seen: bytes
    ) -> ScriptCall:
        row = self._streams[channel]
        publisher, _, number = batch_id.rpartition("/")
        first, fence_key = self._keys_of(channel, shard)
        keys = [*first, self.key(topics.receipt_key(publisher, part), shard), fence_key]
        channels = self._channels if row.by_instrument else ""
        if channels:
            keys.append(self.key(topics.shard_channel(channel), shard))
        names = list({message[0]: None for message in messages})
        if seen:
            keys += [self.key(topics.seen_key(name), shard) for name in names]
        epoch, ended, last = self._numbers[shard].known(channel, names)
        limit = self._limit if row.stored else 0
        known = orjson.dumps([epoch, ended, *chain.from_iterable(zip(names, last, strict=True))])
        options: list[str | bytes | int] = [
            channel, new_epoch(), row.tail, limit, int(row.keeps_latest), number, RECEIPT_SECONDS, known, seen, fence.argument(),
            self._owner, channels,
        ]  # fmt: skip
        return keys, [*options, *(field for message in messages for field in message)]

    def _keys_of(self, channel: str, shard: int) -> tuple[tuple[str, ...], str]:
        """The keys of numbers, stream, latest messages and counts, and that of the fence."""
        kept = self._kept_keys.get((channel, shard))
        if kept is None:
            names = (topics.NUMBERS_KEY, topics.stream_key(channel), self._streams[channel].latest_key, topics.count_key(channel))
            first = tuple(self.key(name, shard) for name in names)
            kept = self._kept_keys[channel, shard] = first, self.key(topics.FENCE_KEY, shard)
        return kept

    def _stamps(self, channel: str, shard: int, messages: Sequence[Message], answer: Sequence[Any]) -> list[Stamp]:
        """The stamps of an answer of the script; their numbers are noted."""
        repeated, epoch, seqs = answer[0], answer[1].decode(), answer[2:]
        if epoch and not repeated:  # the answer to an earlier run may be of an ended epoch
            numbers = {message[0]: seq for message, seq in zip(messages, seqs, strict=True) if seq}
            self._numbers[shard].note(channel, epoch, numbers)
        return [Stamp(epoch, seq) for seq in seqs]
