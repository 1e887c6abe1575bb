"""The streams as a queue for the writers, which store their entries and then acknowledge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import redis

from db import topics
from db.bus.confirmation import ScriptCall
from db.bus.connection import Connection, lua
from db.bus.errors import translated
from db.bus.layout.shard_polls import ShardPolls, parts_of
from db.messages import Entry, NoteBad, TradeLines, ignore_bad
from db.timestamps import format_time, parse_time

_ACKNOWLEDGE = lua("acknowledge")
_FORGET = lua("forget")
_PARK = lua("park")
_RECOUNT = lua("recount")
# All writers share one consumer name: a new writer inherits the unacknowledged entries of the last.
_CONSUMER = "writer"
_DEAD_LETTERS = 1_000  # kept per channel
_MAX_RAW_BYTES = 64 * 1024  # of a dead letter
_MAX_REASON_LENGTH = 500
_MAX_RECOUNTED = 20_000  # entries that one count reads, while Redis serves no other client

Fields = Mapping[bytes, bytes]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Parked:
    """Entries that could not be stored: their number (None: unknown), and the time of the last."""

    total: int | None
    last: str | None


class WriterQueue(Connection):
    """The part of the bus for the store. Every method raises `BusError`.

    A channel has one stream per shard. With several shards, the id of an entry ends with `@SHARD`.
    `shards` limits a method to some of them; None means all.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._polls: dict[str, ShardPolls] = {}  # by channel

    def open_group(self, channel: str, *, shards: Sequence[int] | None = None) -> None:
        """Create the store's consumer group at the beginning of each stream, unless it exists."""
        with translated():
            for shard in self._chosen(channel, shards):
                try:
                    self._redis.xgroup_create(self._stream(channel, shard), topics.WRITER_GROUP, id="0", mkstream=True)
                except redis.ResponseError as error:
                    if "BUSYGROUP" not in str(error):
                        raise

    def read_unstored(
        self,
        channel: str,
        count: int,
        wait_ms: int,
        *,
        again: bool = False,
        note_bad: NoteBad = ignore_bad,
        shards: Sequence[int] | None = None,
    ) -> list[Entry]:
        """The next `count` entries for the store; waits up to `wait_ms` for the first (0: no wait).

        `again` returns entries that were read before and never acknowledged. A malformed entry is
        parked, and `note_bad` is called with its id and its error.
        """
        return self.read_parsed(channel, Entry.of, count, wait_ms, again=again, note_bad=note_bad, shards=shards)

    def read_unstored_trades(
        self, count: int, wait_ms: int, *, again: bool = False, note_bad: NoteBad = ignore_bad, shards: Sequence[int] | None = None
    ) -> list[TradeLines]:
        """The same as `read_unstored` for the stream of trades; each entry holds many trades."""
        return self.read_parsed(topics.TRADES, TradeLines.of, count, wait_ms, again=again, note_bad=note_bad, shards=shards)

    def read_parsed(
        self,
        channel: str,
        parse: Callable[[bytes, Fields], Parsed],
        count: int,
        wait_ms: int,
        *,
        again: bool = False,
        note_bad: NoteBad = ignore_bad,
        shards: Sequence[int] | None = None,
    ) -> list[Parsed]:
        """The same as `read_unstored` for entries of another form.

        `parse` has the id and the fields of an entry, and raises `ValueError` if it is malformed.
        """
        # Until there is a good entry, or none: an empty answer is the end of the rest.
        found: list[Parsed] = []
        while not found and (items := self._read_group(channel, count, wait_ms, again, shards)):
            gone, bad = [], {}
            for entry_id, fields in items:
                try:
                    if fields:
                        found.append(parse(entry_id, fields))
                    else:
                        gone.append(entry_id)
                except ValueError as error:
                    note_bad(entry_id, error)
                    bad[entry_id] = str(error)
            self.park(channel, bad)
            if gone:
                # The stream has lost these entries, and only the group still lists them.
                self.acknowledge(channel, gone)
                self.recount(channel, shards=shards)
        return found

    def _read_group(self, channel: str, count: int, wait_ms: int, again: bool, shards: Sequence[int] | None) -> list[tuple[bytes, Fields]]:
        if len(self.shards_of(channel)) > 1:
            polls = self._polls.setdefault(channel, ShardPolls())
            chosen, read = self._chosen(channel, shards), partial(self._read_shards, channel)
            return polls.once(read, chosen, count, again=True) if again else polls.wait(read, chosen, count, wait_ms)
        with translated():
            answer = self._redis.xreadgroup(
                topics.WRITER_GROUP,
                _CONSUMER,
                {self._stream(channel, 0): "0" if again else ">"},
                count=count,
                block=None if again or wait_ms <= 0 else wait_ms,
            )
        return [item for _, items in answer or [] for item in items]

    def _read_shards(self, channel: str, asked: Sequence[tuple[int, bytes]], count: int) -> list[list[tuple[bytes, Fields]]]:
        """Read up to `count` entries after an id of each shard, in one pipeline per node."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for shard, begin in asked:
                pipe.xreadgroup(topics.WRITER_GROUP, _CONSUMER, {self._stream(channel, shard): begin}, count=count)
            answers = pipe.execute()
        return [[item for _, items in answer or [] for item in items] for answer in answers]

    def park(self, channel: str, reasons: Mapping[bytes, str]) -> None:
        """Move entries that cannot be stored to the dead letters of their channel, counted once.

        `reasons` has the reason by id.
        """
        if not reasons:
            return
        now, deletes = format_time(self._clock()), int(channel == topics.TRADES)
        options: list[str | bytes | int] = [_DEAD_LETTERS, _MAX_RAW_BYTES, now, deletes]
        calls: list[ScriptCall] = []
        for entry_id, reason in reasons.items():
            own_id, shard = parts_of(entry_id)
            keys = [self.key(key, shard) for key in (topics.stream_key(channel), topics.dead_key(channel), topics.PARKED_KEY)]
            text = reason[:_MAX_REASON_LENGTH].encode(errors="replace")
            calls.append((keys, [topics.WRITER_GROUP, own_id, text, *options]))
        self.measured.parked.add(channel, by=sum(self._run_scripts(_PARK, calls)))
        self.recount(channel, shards=sorted({parts_of(entry_id)[1] for entry_id in reasons}))

    def parked(self) -> Parked:
        """Number of parked entries of all channels, and the time of the last one."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for shard in range(self.shards):
                pipe.hmget(self.key(topics.PARKED_KEY, shard), ["total", "last"])
            answers = pipe.execute()
        total, times = 0, []
        for number, last in answers:
            try:
                count, at = int(number or 0), None if last is None else format_time(parse_time(last.decode()))
            except ValueError:
                continue
            total += count
            times += [] if at is None else [at]
        return Parked(total, max(times, default=None))

    def recount(self, channel: str, *, shards: Sequence[int] | None = None) -> tuple[int, int] | None:
        """Correct the counts of the channel, which another loss of data may have made wrong.

        Returns the wrong and the right number of unstored messages; None if they were right.
        """
        field, chunk = ("trades", 100) if channel == topics.TRADES else ("", 1_000)
        arguments: list[str | bytes | int] = [topics.WRITER_GROUP, field, _MAX_RECOUNTED, chunk]
        answers = self._run_scripts(_RECOUNT, [(self._counted(channel, shard), arguments) for shard in self._chosen(channel, shards)])
        wrong = [answer for answer in answers if answer is not None]
        return (sum(int(answer[0]) for answer in wrong), sum(int(answer[1]) for answer in wrong)) if wrong else None

    def acknowledge(self, channel: str, ids: Sequence[bytes]) -> int:
        """Mark these entries as stored; returns the number that was not yet acknowledged."""
        by_shard: dict[int, list[bytes]] = {}
        for entry_id in ids:
            own_id, shard = parts_of(entry_id)
            by_shard.setdefault(shard, []).append(own_id)
        calls: list[ScriptCall] = [(self._counted(channel, shard), [topics.WRITER_GROUP, *mine]) for shard, mine in by_shard.items()]
        return sum(map(int, self._run_scripts(_ACKNOWLEDGE, calls)))

    def forget_trades(self, entries: Sequence[TradeLines]) -> int:
        """Mark these entries as stored and delete them, because only the store reads them.

        Returns the number of trades that were not yet acknowledged.
        """
        by_shard: dict[int, list[bytes | int]] = {}
        for entry in entries:
            own_id, shard = parts_of(entry.id)
            by_shard.setdefault(shard, []).extend((own_id, entry.trades))
        calls: list[ScriptCall] = [(self._counted(topics.TRADES, shard), [topics.WRITER_GROUP, *mine]) for shard, mine in by_shard.items()]
        return sum(map(int, self._run_scripts(_FORGET, calls)))

    def unstored(self, channel: str = topics.PRICES) -> int:
        """Number of accepted messages that the store does not hold yet."""
        published, stored = self.counts(channel)
        return published - stored

    def counts(self, channel: str = topics.PRICES) -> tuple[int, int]:
        """Numbers of accepted and of acknowledged messages; both are 0 if Redis lost its data."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for shard in self.shards_of(channel):
                pipe.hmget(self.key(topics.count_key(channel), shard), ["published", "stored"])
            answers = pipe.execute()
        return sum(_count(published) for published, _ in answers), sum(_count(stored) for _, stored in answers)

    def _chosen(self, channel: str, shards: Sequence[int] | None) -> Sequence[int]:
        """The shards of the channel, or those of them in `shards`."""
        every = self.shards_of(channel)
        return every if shards is None else [shard for shard in shards if shard in every]

    def _stream(self, channel: str, shard: int) -> str:
        return self.key(topics.stream_key(channel), shard)

    def _counted(self, channel: str, shard: int) -> list[str]:
        """The keys of a stream and of its counts."""
        return [self._stream(channel, shard), self.key(topics.count_key(channel), shard)]


def _count(value: bytes | None) -> int:
    """A counter; 0 if it is missing or cannot be read, until the writer counts again."""
    return int(value) if value and value.removeprefix(b"-").isdigit() else 0
